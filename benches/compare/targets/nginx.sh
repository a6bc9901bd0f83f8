render nginx.conf.in > "$WORK/nginx-$PORT.conf"
exec nginx -c "$WORK/nginx-$PORT.conf" -e "$WORK/nginx-error.log"
