# nginx-endpoints@2: the endpoints of gateway-endpoints@2.
SERVERS="$(tr -d '[]"' < "$WORK/endpoints-$POINT" | sed 's|http://|server |g; s/$/;/; s/, /; /g')"
. "$HERE/targets/nginx.sh"
