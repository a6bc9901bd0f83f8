# Token verified each time, limit, request id; no log.
HAPROXY_POLICY="$(render haproxy-policy.cfg.in ALG="${ALG:-HS256}" KEY="${KEY:-$(cat "$WORK/secret")}")"
. "$HERE/targets/haproxy.sh"
