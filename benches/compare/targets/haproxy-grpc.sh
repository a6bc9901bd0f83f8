LISTENOPT="proto h2" SERVEROPT="proto h2"
. "$HERE/targets/haproxy.sh"
