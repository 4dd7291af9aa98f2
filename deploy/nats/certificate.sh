#!/bin/sh
# Makes key and certificate of one server of the cluster, signed by the platform's authority. Run it on the hub's machine; needs openssl.
#   sh certificate.sh /var/lib/qiao-hub/platform nats-1 nats-1.example.gov.cn [more names or addresses]
# Writes NAME.key (0600) and NAME.pem into the present folder. Carry both and authority.pem to that server by a safe way.
set -eu
hub=${1:?usage: certificate.sh HUB_DIR NAME HOST...}
name=${2:?usage: certificate.sh HUB_DIR NAME HOST...}
shift 2
[ $# -gt 0 ] || { echo 'certificate.sh: name at least one host that nodes dial' >&2; exit 1; }

hosts=''
for host; do
  case $host in
    *[!0-9.]*:* | *:*) hosts="$hosts,IP:$host" ;;
    *[!0-9.]*) hosts="$hosts,DNS:$host" ;;
    *) hosts="$hosts,IP:$host" ;;
  esac
done

umask 077
extensions=$(mktemp)
trap 'rm -f "$extensions" "$name.csr"' EXIT
# Both usages: towards nodes it is a server, towards the other servers also a client.
cat >"$extensions" <<TEXT
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth
subjectAltName=${hosts#,}
TEXT
openssl ecparam -name prime256v1 -genkey -noout -out "$name.key"
openssl req -new -key "$name.key" -subj "/CN=$name/OU=nats" -out "$name.csr"
openssl x509 -req -in "$name.csr" -sha256 -days 1095 -CA "$hub/identity/authority.pem" -CAkey "$hub/identity/authority.key" \
  -set_serial "0x$(openssl rand -hex 16 | sed 's/^./1/')" -extfile "$extensions" -out "$name.pem" 2>/dev/null
chmod 644 "$name.pem"
echo "$name.key $name.pem"
