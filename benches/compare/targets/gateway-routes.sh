# gateway-routes@10: with so many routes.
MORE="$WORK/routes-$POINT.toml"
. "$HERE/targets/gateway.sh"
