# Every request asks Redis.
ROUTE='rate_limit = "bench"'
printf '[store.redis]\nurl = "redis://127.0.0.1:%s"\n[rate_limits.bench]\nlimit = "100000000/s"\nshared = "exact"\n' "$REDIS_PORT" \
  > "$WORK/limit-$PORT.toml"; MORE="$WORK/limit-$PORT.toml"
. "$HERE/targets/gateway.sh"
