LISTENOPT="proto h2"
. "$HERE/targets/haproxy.sh"
