LISTENOPT=http2
. "$HERE/targets/nginx.sh"
