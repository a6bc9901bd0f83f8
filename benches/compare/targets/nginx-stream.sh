# Event streams and tunnels: nothing is held back, upgrades pass.
POLICY='proxy_buffering off; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrade;'
. "$HERE/targets/nginx.sh"
