render traefik-dyn.yml.in MW= > "$WORK/traefik-dyn-$PORT.yml"
render traefik.yml.in EXTRA= > "$WORK/traefik-$PORT.yml"
GOMAXPROCS=1 exec "$TRAEFIK_BIN" --configFile="$WORK/traefik-$PORT.yml"
