#!/bin/sh
# Brings the servers that the demo and the tests start for themselves: nats-server, and for the tests PostgreSQL, MariaDB
# and Chromium.
# Installs them with apt-get where it may; otherwise says what to install and stops. Used by `npm run demo` and `npm test`.
set -eu

wanted=${1:?usage: prepare.sh demo|test}
missing=''
PATH="$PATH:/usr/sbin:/usr/local/sbin"

command -v nats-server >/dev/null 2>&1 || missing="$missing nats-server"
if [ "$wanted" = test ]; then
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 || missing="$missing postgresql"
  command -v mariadbd >/dev/null 2>&1 || missing="$missing mariadb-server"
  command -v chromium >/dev/null 2>&1 || missing="$missing chromium fonts-noto-cjk"
fi
[ -z "$missing" ] && exit 0

as_root=''
[ "$(id -u)" = 0 ] || as_root='sudo -n'
if command -v apt-get >/dev/null 2>&1 && { [ -z "$as_root" ] || sudo -n true 2>/dev/null; }; then
  echo "Installing$missing with apt-get ..." >&2
  log=$(mktemp)
  # A cluster of the system's own would only run beside ours: the tests start private ones.
  if $as_root env DEBIAN_FRONTEND=noninteractive sh -c "apt-get update -q && apt-get install -q -y --no-install-recommends$missing" >"$log" 2>&1; then
    rm -f "$log"
    exit 0
  fi
  tail -n 20 "$log" >&2
fi
cat >&2 <<TEXT
Missing:$missing
They could not be installed from here. Install them and run the command again:
  Debian, Ubuntu:  sudo apt-get install$missing
  others:          nats-server from https://github.com/nats-io/nats-server/releases (2.9 or later) on the PATH,
                   PostgreSQL 13 or later, MariaDB 10.5 or later, Chromium
TEXT
exit 1
