#!/bin/bash
# run.sh: every test. Needs root, Go, and Debian's packages, which it installs when they are missing. Tests that touch the network run in
# network namespaces of their own; in the end nothing may be left: no process, interface, namespace, nft table or file.
#   TEST_RACE=1        also run the race detector where it is affordable (default 1)
#   TEST_E2E=0         leave out the end-to-end tests with real guests
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "test/run.sh: root is needed (network namespaces, QEMU); \`make check\` needs none" >&2; exit 1; }
t0=$SECONDS
say() { printf '\n== %4d s  %s\n' $((SECONDS - t0)) "$*"; }

say "packages"
deploy/packages.sh test
work=$(mktemp -d /tmp/hanok-test.XXXXXX)
source test/leaks.sh
leaks_before "$work/before"

pg=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
cleanup() {
  su postgres -s /bin/sh -c "$pg/pg_ctl -D $work/pg/data -m immediate -w stop" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

say "PostgreSQL for the tests"
mkdir "$work/pg"; chmod 755 "$work"; chown postgres "$work/pg"
su postgres -s /bin/sh -c "$pg/initdb -D $work/pg/data -A trust -U postgres --locale=C.UTF-8" >/dev/null
su postgres -s /bin/sh -c "$pg/pg_ctl -D $work/pg/data -w -l $work/pg/log -o '-k $work/pg -c listen_addresses= -c fsync=off -c max_connections=400' start" >/dev/null
export HANOK_TEST_POSTGRES="postgres://postgres@/postgres?host=$work/pg&sslmode=disable"
export HANOK_TEST_REQUIRE=1

say "format, vet, staticcheck"
unformatted=$(git ls-files '*.go' | xargs gofmt -l)
[ -z "$unformatted" ] || { echo "gofmt would change: $unformatted"; exit 1; }
go vet ./...
go tool -modfile=tools/go.mod staticcheck ./...

say "guest image"
images/build.sh --out build/hanok-guest.qcow2
export HANOK_TEST_IMAGE=$PWD/build/hanok-guest.qcow2

say "build"
make -s build

say "tests"
packages=$(go list ./... | grep -v /test/e2e)
go test -timeout 20m $packages

if [ "${TEST_RACE:-1}" = 1 ]; then
  say "race detector"
  go test -race -short -timeout 20m $(cat test/race-packages)
fi

if [ -d test/acceptance ]; then
  say "gophercloud's acceptance tests"
  test/acceptance/run.sh
fi

if [ "${TEST_E2E:-1}" = 1 ]; then
  say "end to end, with real guests"
  go test -v -count=1 -timeout 25m ./test/e2e/...
fi

cleanup
trap - EXIT
say "leaks"
leaks_after "$work/before"
say "all tests passed"
