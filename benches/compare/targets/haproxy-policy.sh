# Token verified each time, limit, request id; no log.
HAPROXY_POLICY="$(render haproxy-policy.cfg.in SECRET="$(cat "$WORK/secret")")"
. "$HERE/targets/haproxy.sh"
