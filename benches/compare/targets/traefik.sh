render traefik-dyn.yml.in MW= > "$WORK/traefik-dyn-$PORT.yml"
render traefik.yml.in EXTRA= > "$WORK/traefik-$PORT.yml"
export GOMAXPROCS=1
launch "$TRAEFIK_BIN" --configFile="$WORK/traefik-$PORT.yml"
