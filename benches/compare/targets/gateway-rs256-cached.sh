# The same with tokens remembered, as the default is.
JWT="public_key_file = \"$WORK/rs256.pub.pem\""
. "$HERE/targets/gateway-policy.sh"
