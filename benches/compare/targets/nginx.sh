export LISTENOPT SERVERS="${SERVERS:-server 127.0.0.1:$UP;}" PASS="${PASS:-proxy_pass http://be/;}" POLICY="${POLICY:-proxy_set_header Connection \"\";}"
render nginx.conf.in > "$WORK/nginx-$PORT.conf"
launch nginx -c "$WORK/nginx-$PORT.conf" -e "$WORK/nginx-error.log"
