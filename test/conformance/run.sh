#!/bin/bash
# run.sh [SUITE…]: Tempest, the OpenStack project's own test suite, against `bin/hanok dev`. Needs a Debian machine and root: today's
# clients and Tempest 43 are Debian 13's packages, in a chroot that the first run makes (about 1 GB, some minutes).
#   SUITE               smoke identity keystone image network compute scenario, or a regular expression over test names. keystone is
#                       Keystone's own plugin for Tempest. Default: smoke identity keystone image network compute.
# Prints a line of totals per suite. Fails when a test failed that expected-failures.txt does not name, when one that it names passes,
# or when a test was skipped for which skips.txt has no reason. Details: build/conformance/SUITE.{passed,failed,skipped}.txt and logs.
#   OS_AUTH_URL and its kin     set: test that cloud instead of starting one
#   CONFORMANCE_ROOM=DIR        the chroot       CONFORMANCE_MIRROR=URL     the Debian mirror it is made from
#   CONFORMANCE_WORKERS=N       tests at once (default: as many as there are cores)
#   CONFORMANCE_NODES=N         simulated nodes (default 2)
#   CONFORMANCE_DATABASE=URL    an empty PostgreSQL database instead of memory
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
room=${CONFORMANCE_ROOM:-/var/cache/hanok-conformance/trixie}
out=$repo/build/conformance
suites=("$@")
[ $# -gt 0 ] || suites=(smoke identity keystone image network compute)
fail() { echo "run.sh: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "root is needed to make and enter the chroot"

# inside CMD…: run a command in the room, with the results' folder at /mnt. The mounts are in a namespace of their own and go with it.
inside() {
  unshare --mount --propagation private sh -euc '
    room=$1 out=$2; shift 2
    mount -t proc proc "$room/proc"
    mount --rbind /dev "$room/dev"
    mount --bind "$out" "$room/mnt"
    [ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$room/etc/resolv.conf"
    exec chroot "$room" /usr/bin/env PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
  ' inside "$room" "$out" "$@"
}

make_room() {
  [ -x "$room/usr/bin/tempest" ] && [ -d "$room/usr/lib/python3/dist-packages/keystone_tempest_plugin" ] && return
  command -v debootstrap >/dev/null || { apt-get update -qq; apt-get install -y -qq debootstrap >/dev/null; }
  local mirror=${CONFORMANCE_MIRROR:-}
  [ -n "$mirror" ] || mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
    grep -oE '^(deb|URIs:).*' | grep -oE 'https?://[^ ]+' | grep -v security | head -1) || true
  mirror=${mirror:-http://deb.debian.org/debian}
  echo "making the chroot $room from $mirror; details in $out/room.log"
  mkdir -p "$room"
  {
    [ -e "$room/etc/debian_version" ] || debootstrap --variant=minbase trixie "$room" "$mirror"
    printf '#!/bin/sh\nexit 101\n' > "$room/usr/sbin/policy-rc.d" # packages start no service in here
    chmod 755 "$room/usr/sbin/policy-rc.d"
    apt-config dump Acquire > "$room/etc/apt/apt.conf.d/80as-the-host" # its proxy, if it has one
    inside apt-get update -q
    inside apt-get install -y -q --no-install-recommends tempest keystone-tempest-plugin python3-stestr python3-subunit python3-openstackclient openssh-client iputils-ping
  } > "$out/room.log" 2>&1 || { tail -5 "$out/room.log" >&2; fail "the chroot could not be made"; }
}

start_cloud() {
  [ -z "${OS_AUTH_URL:-}" ] || return 0
  [ -x "$repo/bin/hanok" ] || fail "bin/hanok is missing; \`make\` builds it"
  rm -f "$out/env"
  "$repo/bin/hanok" dev --listen 127.0.0.1:0 --nodes "${CONFORMANCE_NODES:-2}" --keystone-conf "$here/keystone.conf" \
    ${CONFORMANCE_DATABASE:+--database "$CONFORMANCE_DATABASE"} --env-file "$out/env" > "$out/hanok.out" 2> "$out/hanok.log" &
  cloud=$!
  for _ in $(seq 100); do
    [ ! -s "$out/env" ] || break
    kill -0 "$cloud" 2>/dev/null || { cat "$out/hanok.log" >&2; fail "the cloud did not start"; }
    sleep 0.1
  done
  [ -s "$out/env" ] || fail "the cloud does not answer; see $out/hanok.log"
  . "$out/env"
}
cloud=
trap '[ -z "$cloud" ] || { kill "$cloud" 2>/dev/null || true; wait "$cloud" 2>/dev/null || true; }' EXIT

pattern() {
  case $1 in
    smoke) echo '^tempest\..*\[.*\bsmoke\b.*\]' ;; # of Tempest itself, not of plugins in the room
    identity | image | network | compute) echo "^tempest\\.(serial_tests\\.)?api\\.$1\\." ;;
    keystone) echo '^keystone_tempest_plugin\.' ;;
    scenario) echo '^tempest\.scenario\.' ;;
    *) echo "$1" ;;
  esac
}

mkdir -p "$out"
make_room
cp "$here"/*.py "$here"/*.txt "$here/features.ini" "$out/"
start_cloud
[ -z "${OS_CACERT:-}" ] || { cp "$OS_CACERT" "$out/ca.pem"; export OS_CACERT=/mnt/ca.pem REQUESTS_CA_BUNDLE=/mnt/ca.pem; }
rm -rf "$out/tempest" "$out/workspaces.yaml"
inside tempest init --workspace-path /mnt/workspaces.yaml /mnt/tempest > "$out/init.log" 2>&1 || { cat "$out/init.log" >&2; fail "tempest init failed"; }
inside python3 /mnt/tempest_conf.py /mnt/features.ini /mnt/tempest > "$out/tempest/etc/tempest.conf"
inside python3 /mnt/results.py exclude /mnt/skips.txt > "$out/exclude"

bad=0
for suite in "${suites[@]}"; do
  name=$(printf %s "$suite" | tr -c 'a-zA-Z0-9_' _)
  rm -rf "$out/tempest/$name"
  mkdir "$out/tempest/$name"
  from=$SECONDS
  # stestr's own exit status counts expected failures, too: results.py judges.
  inside sh -c 'cd /mnt/tempest && exec stestr --repo-url "$1" run --subunit --exclude-list /mnt/exclude --concurrency "$2" "$3"' run \
    "/mnt/tempest/$name" "${CONFORMANCE_WORKERS:-0}" "$(pattern "$suite")" > "$out/$name.subunit" 2> "$out/$name.err" || true
  inside python3 /mnt/results.py judge "$name" /mnt $((SECONDS - from)) || bad=1
done
[ -z "$cloud" ] || sed -nE 's/^VmHWM:\s+([0-9]+) kB/the cloud used at most \1 kB of memory/p' "/proc/$cloud/status"
exit $bad
