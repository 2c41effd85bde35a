#!/bin/bash
# make-fixture.sh vX.Y.Z: at a release, keep a database of it: internal/db/testdata/releases/vX.Y.Z.db.gz, from which every later version is
# tested to upgrade. The released program (bin/hanok) runs with simulated nodes on a SQLite file; a few of everything are made through the
# public APIs with Debian's openstack client.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?usage: make-fixture.sh vX.Y.Z}
target=internal/db/testdata/releases/$version.db.gz
fail() { echo "make-fixture.sh: $*" >&2; exit 1; }
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+$ ]] || fail "$version is not like v1.2.3"
[ ! -e "$target" ] || fail "$target is there; a release's database never changes"
[ "$(bin/hanok version)" = "hanok $version" ] || fail "bin/hanok is $(bin/hanok version); check out $version and run make"
openstack=/usr/bin/openstack
[ -x $openstack ] || fail "the openstack client is missing (apt-get install python3-openstackclient)"

work=$(mktemp -d /tmp/hanok-fixture.XXXXXX)
bin/hanok dev --listen 127.0.0.1:0 --database "sqlite:$work/hanok.db" --env-file "$work/env" > "$work/out" 2> "$work/log" &
cloud=$!
trap 'kill $cloud 2>/dev/null || true; wait $cloud 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 100); do
  [ ! -s "$work/env" ] || break
  kill -0 $cloud 2>/dev/null || { cat "$work/log" >&2; fail "the cloud did not start"; }
  sleep 0.1
done
. "$work/env"
os() { echo "  openstack $*"; $openstack "$@" >> "$work/client.log" 2>&1 || { tail -3 "$work/client.log" >&2; fail "openstack $* failed"; }; }

echo "identity"
os domain create fixture-domain
os project create --domain default fixture --tag a --description 'with a tag'
os group create fixture-group
os user create --project fixture --password fixture fixture-user
os group add user fixture-group fixture-user
os role create fixture-role
os role add --project fixture --user fixture-user member
os role add --domain fixture-domain --group fixture-group reader
os application credential create fixture-credential --role member
os credential create --type cert admin '{"some": "blob"}'
os trust create --project admin --role admin admin fixture-user
os ec2 credentials create --project admin
os consumer create --description fixture
os registered limit create --service nova --default-limit 10 --region RegionOne fixture_resource
os limit create --project fixture --service nova --resource-limit 5 --region RegionOne fixture_resource
os identity provider create --remote-id https://sso.example fixture-provider
echo '[{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "OIDC-sub"}]}]' > "$work/rules"
os mapping create --rules "$work/rules" fixture-mapping
os federation protocol create --identity-provider fixture-provider --mapping fixture-mapping openid
os implied role create --implied-role reader fixture-role
os token issue
os token revoke "$($openstack token issue -f value -c id)"
echo "image"
head -c 100000 /dev/urandom > "$work/image"
os image create --disk-format raw --container-format bare --file "$work/image" --tag fixture --property os_distro=debian fixture-image
os image create --disk-format raw --container-format bare fixture-queued
echo "network"
os network create fixture-net
os subnet create --network fixture-net --subnet-range 10.9.0.0/24 --dns-nameserver 192.0.2.53 fixture-subnet
os subnet create --network fixture-net --ip-version 6 --subnet-range fd00:9::/64 --ipv6-address-mode slaac --ipv6-ra-mode slaac fixture-subnet6
os subnet pool create --pool-prefix 10.200.0.0/16 --default-prefix-length 24 fixture-pool
os router create --external-gateway public fixture-router
os router add subnet fixture-router fixture-subnet
os security group create fixture-group
os security group rule create --proto tcp --dst-port 22 fixture-group
os port create --network fixture-net --security-group fixture-group fixture-port
os floating ip create public
echo "compute"
os flavor create --ram 64 --disk 1 --vcpus 1 --property hw:cpu_policy=shared fixture-flavor
os keypair create --private-key "$work/key" fixture-key
os server group create --policy anti-affinity fixture-server-group
os aggregate create --zone fixture-zone fixture-aggregate
boot=(server create --image fixture-image --flavor fixture-flavor --wait)
os "${boot[@]}" --port fixture-port --key-name fixture-key --property a=b fixture-active
os "${boot[@]}" --network fixture-net --config-drive True fixture-stopped
os server stop fixture-stopped
os "${boot[@]}" --network fixture-net fixture-deleted
os server delete --wait fixture-deleted
os quota set --instances 20 fixture
echo "placement"
token=$($openstack token issue -f value -c id)
curl -fsS -X PUT -H "X-Auth-Token: $token" -H 'OpenStack-API-Version: placement 1.39' "${OS_AUTH_URL%/identity/v3}/placement/traits/CUSTOM_FIXTURE"

kill $cloud
wait $cloud || true
# One file without a journal.
python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute("VACUUM INTO ?", (sys.argv[2],))' "$work/hanok.db" "$work/whole.db"
gzip -9nc "$work/whole.db" > "$target"
ls -l "$target"
