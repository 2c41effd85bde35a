#!/bin/bash
# packages.sh run|image|test: install the Debian packages that running the cloud, building the guest image, or testing needs.
# What is installed already is left alone; nothing is started.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
run=(qemu-system-x86 qemu-utils nftables iproute2)
image=($(sed 's/#.*//' "$here/../images/packages"))
tests=(tcpdump postgresql python3-openstackclient openssh-client iputils-ping procps slapd ldap-utils)
# The OpenID Connect provider that tests log in to is run by node, from wherever that comes.
command -v node >/dev/null || tests+=(nodejs)
command -v npm >/dev/null || tests+=(npm)
case ${1:-} in
  run) want=("${run[@]}") ;;
  image) want=("${image[@]}") ;;
  test) want=("${run[@]}" "${image[@]}" "${tests[@]}") ;;
  *) echo "usage: packages.sh run|image|test" >&2; exit 2 ;;
esac
missing=()
for p in "${want[@]}"; do
  dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null | grep -q '^ii' || missing+=("$p")
done
[ ${#missing[@]} = 0 ] && exit 0
[ "$(id -u)" = 0 ] || { echo "packages.sh: root is needed to install: ${missing[*]}" >&2; exit 1; }
echo "installing from Debian: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# No service may be started by the installation (postgresql would).
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' > $policy; chmod 755 $policy
  trap 'rm -f $policy' EXIT
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 "${missing[@]}" >/dev/null
