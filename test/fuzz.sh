#!/bin/bash
# fuzz.sh [SECONDS]: run every fuzz test for a while (default 20 s each).
set -euo pipefail
cd "$(dirname "$0")/.."
for f in $(git ls-files '*_test.go' | xargs grep -l '^func Fuzz'); do
  for name in $(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$f"); do
    echo "== $(dirname "$f") $name"
    go test -run '^$' -fuzz "^$name\$" -fuzztime "${1:-20}s" "./$(dirname "$f")"
  done
done
