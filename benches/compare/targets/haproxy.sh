export LISTENOPT SERVEROPT
render haproxy.cfg.in POLICY="${HAPROXY_POLICY:-}" > "$WORK/haproxy-$PORT.cfg"
launch haproxy -db -f "$WORK/haproxy-$PORT.cfg"
