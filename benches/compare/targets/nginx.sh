export LISTENOPT PASS="${PASS:-proxy_pass http://be/;}" POLICY="${POLICY:-proxy_set_header Connection \"\";}"
render nginx.conf.in > "$WORK/nginx-$PORT.conf"
launch nginx -c "$WORK/nginx-$PORT.conf" -e "$WORK/nginx-error.log"
