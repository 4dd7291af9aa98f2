#!/bin/sh
# Prints accounts.conf for the servers of an outside cluster: the operator, the system account and the accounts of this platform, as
# the hub's own server was given them. Public claims only: no key is in it.
#   sh accounts.sh /var/lib/qiao-hub/platform > accounts.conf
set -eu
conf=${1:?usage: accounts.sh HUB_DIR}/bus/nats.conf
[ -r "$conf" ] || {
  echo "accounts.sh: $conf is missing; start the hub once with bus.server: embedded" >&2
  exit 1
}
printf '# Made by accounts.sh. Make it again when the hub founds its bus anew.\n'
sed -n -e '/^operator: /p' -e '/^system_account: /p' -e '/^resolver_preload {/,/^}/p' "$conf"
