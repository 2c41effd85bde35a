#!/bin/bash
# run.sh: gophercloud's own acceptance tests against `hanok dev`. What is left out stands in skip.txt, each with its reason.
#   ACCEPTANCE_RUN=REGEX     only these tests
#   ACCEPTANCE_DATABASE=URL  an empty PostgreSQL database instead of memory
# Guests take a moment to boot, since some tests want to see REBOOT.
set -euo pipefail
cd "$(dirname "$0")"
hanok=$PWD/../../bin/hanok
work=$(mktemp -d /tmp/hanok-acceptance.XXXXXX)
"$hanok" dev ${ACCEPTANCE_DATABASE:+--database "$ACCEPTANCE_DATABASE"} --nodes 1 --boot-time 1200ms --listen 127.0.0.1:0 --env-file "$work/env" >"$work/out" 2>"$work/log" &
cloud=$!
trap 'kill $cloud 2>/dev/null; wait $cloud 2>/dev/null; rm -rf "$work"' EXIT
for _ in $(seq 100); do [ -s "$work/env" ] && break; kill -0 $cloud || { cat "$work/log"; exit 1; }; sleep 0.1; done
. "$work/env"
export OS_DOMAIN_ID=default OS_BRANCH=stable/2025.1
id() { /usr/bin/openstack "$1" show "$2" -f value -c id; }
OS_FLAVOR_ID=$(id flavor m1.nano); OS_FLAVOR_ID_RESIZE=$(id flavor m1.micro); OS_IMAGE_ID=$(id image cirros); OS_EXTGW_ID=$(id network public)
OS_NETWORK_ID=$(id network private)
export OS_FLAVOR_ID OS_FLAVOR_ID_RESIZE OS_IMAGE_ID OS_EXTGW_ID OS_NETWORK_ID OS_NETWORK_NAME=private OS_POOL_NAME=public
skip=$(sed -n 's/^\(Test[A-Za-z0-9_]*\).*/\1/p' skip.txt | sed 's/^/^/; s/$/$/' | paste -sd'|')
base=github.com/gophercloud/gophercloud/v2/internal/acceptance/openstack
failed=0
for p in identity/v3 image/v2 placement/v1 networking/v2 networking/v2/extensions/... compute/v2; do
  go test -count=1 -timeout 10m -tags acceptance ${ACCEPTANCE_RUN:+-run "$ACCEPTANCE_RUN"} ${skip:+-skip "$skip"} "$base/$p" || failed=1
done
exit $failed
