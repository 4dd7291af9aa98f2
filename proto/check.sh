#!/bin/sh
# Holds the contract: lint, nothing broken against the released one, generated code up to date. Run from the repository's root.
set -eu
buf lint proto
buf breaking proto --against proto/released.binpb
generated=$(mktemp -d)
trap 'rm -rf "$generated"' EXIT
buf generate proto --template proto/buf.gen.yaml --output "$generated"
diff -r "$generated/packages/contract/src" packages/contract/src || {
  echo 'packages/contract is not what proto/ says: run npm run generate' >&2
  exit 1
}
