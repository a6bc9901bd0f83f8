render haproxy.cfg.in POLICY="${HAPROXY_POLICY:-}" > "$WORK/haproxy-$PORT.cfg"
exec haproxy -db -f "$WORK/haproxy-$PORT.cfg"
