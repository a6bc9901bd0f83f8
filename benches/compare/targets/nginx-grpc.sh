LISTENOPT=http2 PASS="grpc_pass grpc://be;"
. "$HERE/targets/nginx.sh"
