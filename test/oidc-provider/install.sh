#!/bin/bash
# install.sh: put the certified OpenID Connect provider that the tests of federation log in to under build/oidc-provider. What is there already is left
# alone. Needs node 18 or later and npm.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
there=${1:-$here/../../build/oidc-provider}
mkdir -p "$there"
exec 9>"$there/.lock"
flock 9 # several packages' tests may come here at once
if ! cmp -s "$here/package-lock.json" "$there/installed"; then
  cp "$here/package.json" "$here/package-lock.json" "$there/"
  (cd "$there" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2)
  cp "$here/package-lock.json" "$there/installed"
fi
cp "$here/provider.mjs" "$there/provider.mjs"
