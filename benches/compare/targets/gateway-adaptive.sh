SERVICE='adaptive = true'
. "$HERE/targets/gateway.sh"
