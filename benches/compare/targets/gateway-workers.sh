WORKERS="$POINT"
. "$HERE/targets/gateway.sh"
