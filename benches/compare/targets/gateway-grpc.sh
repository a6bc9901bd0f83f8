CONNECTION='protocol = "http2", '
. "$HERE/targets/gateway.sh"
