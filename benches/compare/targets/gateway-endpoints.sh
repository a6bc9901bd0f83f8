ENDPOINTS="$(cat "$WORK/endpoints-$POINT")"
. "$HERE/targets/gateway.sh"
