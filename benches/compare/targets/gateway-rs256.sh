# The same with a signature that is verified each time.
JWT="public_key_file = \"$WORK/rs256.pub.pem\"
cache_entries = 0"
. "$HERE/targets/gateway-policy.sh"
