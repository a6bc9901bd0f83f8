ALG=RS256 KEY="$WORK/rs256.pub.pem"
. "$HERE/targets/haproxy-policy.sh"
