ROUTE='cache = "60s"'
. "$HERE/targets/gateway.sh"
