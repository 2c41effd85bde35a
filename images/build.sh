#!/bin/bash
# build.sh: makes the small guest image of Hanok from Debian packages, with no mount, loop device or chroot.
#   images/build.sh --out FILE.qcow2 [--cache DIR] [--kernel-dir DIR]
#     --out         the whole-disk image (MBR, GRUB, one ext4 partition); left alone if newer than all that it is made of
#     --cache       where downloaded packages stay (default ~/.cache/hanok/guest)
#     --kernel-dir  also put vmlinuz, initrd.gz, cmdline and root.qcow2 (the bare file system) there, for booting
#                   without firmware: qemu -kernel … -initrd … -append "$(cat cmdline)"
# Network is used by apt alone, and only for packages that the cache lacks.
set -euo pipefail
export LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin
umask 022

die() { echo "build.sh: $*" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
out='' cache=${XDG_CACHE_HOME:-$HOME/.cache}/hanok/guest kerneldir=''
while [ $# -gt 0 ]; do
  case $1 in
  --out) out=$2; shift 2 ;;
  --cache) cache=$2; shift 2 ;;
  --kernel-dir) kerneldir=$2; shift 2 ;;
  *) die "unknown argument $1; usage: build.sh --out FILE.qcow2 [--cache DIR] [--kernel-dir DIR]" ;;
  esac
done
[ -n "$out" ] || die "--out FILE.qcow2 is missing"
for p in apt-get dpkg-deb cpio mke2fs dumpe2fs debugfs grub-mkimage qemu-img; do
  command -v $p >/dev/null || die "the program $p is missing; install the packages listed in $here/packages"
done
# Everything in the image belongs to root; without being root, a user namespace in which we are makes it so.
if [ "$(id -u)" != 0 ]; then
  args=(--out "$out" --cache "$cache"); [ -z "$kerneldir" ] || args+=(--kernel-dir "$kerneldir")
  exec unshare --user --map-root-user "$here/build.sh" "${args[@]}"
fi

list() { sed 's/#.*//; s/[[:space:]]*$//; /^$/d' "$1"; }
inputs_newer_than() { [ -n "$(find "$here" "$cache/debs" -newer "$1" -type f ! -name '*_test.go' ! -name '*.md' -print -quit 2>/dev/null)" ]; }
if [ -s "$out" ] && ! inputs_newer_than "$out" && { [ -z "$kerneldir" ] || [ -s "$kerneldir/root.qcow2" ]; }; then
  echo "$out is up to date ($(stat -c %s "$out") bytes)"
  exit 0
fi
started=$(date +%s)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1700000000}
uuid=6a6e6f6b-6775-4573-8174-686f75736521 # any fixed one: file system and hash seed
work=$(mktemp -d "${TMPDIR:-/tmp}/hanok-guest.XXXXXX")
trap 'rm -rf "$work"' EXIT

# --- packages: those of this machine's Debian, kept by name and version in the cache
mkdir -p "$cache/debs" "$cache/apt/archives/partial" "$cache/apt/lists/partial"
# apt's own cache files are kept apart, so that another apt run on this machine disturbs nothing.
apt=(-q=2 -o Dir::Cache="$cache/apt" -o APT::Sandbox::User= -o Debug::NoLocking=true)
exec 9>"$cache/lock"; flock 9
kernel_package() { apt-cache "${apt[@]:1}" depends linux-image-cloud-amd64 2>/dev/null | sed -nE 's/^ +Depends: (linux-image-[0-9].*)/\1/p' | head -1; }
missing() { for p in "${packages[@]}"; do compgen -G "$cache/debs/${p}_*.deb" >/dev/null || echo "$p"; done; }
mapfile -t packages < <(list "$here/guest-packages" | grep -vx linux-image-cloud-amd64)
kernel=$(cat "$cache/kernel" 2>/dev/null || true)
if [ -z "$kernel" ] || [ -n "$(missing)" ] || ! compgen -G "$cache/debs/${kernel}_*.deb" >/dev/null; then
  download() {
    kernel=$(kernel_package); [ -n "$kernel" ] || return 1
    mapfile -t need < <(packages+=("$kernel"); missing)
    [ "${#need[@]}" = 0 ] || (cd "$cache/debs" && apt-get "${apt[@]}" download "${need[@]}")
  }
  # With no lists on this machine, or with lists that name packages gone since, fresh ones are fetched into the cache.
  download 2>"$work/apt" || {
    apt+=(-o Dir::State::lists="$cache/apt/lists")
    apt-get "${apt[@]}" update && download || { cat "$work/apt" >&2; die "apt could not download the packages in guest-packages; are Debian's own sources in /etc/apt?"; }
  }
  packages+=("$kernel")
  echo "$kernel" > "$cache/kernel"
else
  packages+=("$kernel")
fi

# --- unpacked packages
g=$work/pkg; mkdir "$g"
declare -A deb # the newest of each package in the cache
while read -r f; do deb[${f%%_*}]=$cache/debs/$f; done < <(cd "$cache/debs" && printf '%s\n' *.deb | sort -V)
# Neither documents nor translations, nor those of the kernel's modules that no virtual machine here has a use for.
for p in "${packages[@]}"; do [ "$p" = busybox-static ] || echo "${deb[$p]}"; done |
  xargs -P 2 -n 1 sh -c 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$0" --keep-directory-symlink --exclude="./usr/share/*" --exclude="./usr/include/*" \
    --exclude="*/drivers/net/ethernet/*" --exclude="*/drivers/infiniband/*" --exclude="*/drivers/media/*" --exclude="*/drivers/md/*" --exclude="*/kernel/net/netfilter/*" \
    --exclude="*/fs/btrfs/*" --exclude="*/fs/xfs/*" --exclude="*/fs/ceph/*" --exclude="*/fs/nfs*" --exclude="*/fs/smb/*" --exclude="*/kernel/sound/*"' "$g"
kver=$(ls "$g/lib/modules"); km=$g/lib/modules/$kver/kernel

# --- kernel modules: those listed and those they need, dependencies first
declare -A ko needs seen
while IFS=: read -r f d; do n=${f##*/}; n=${n%.ko}; ko[${n//-/_}]=$km/$f; needs[${n//-/_}]=${d#depends=}; done \
  < <(cd "$km" && grep -raoz --include='*.ko' '^depends=.*' . | tr '\0' '\n')
with_deps() { # appends to $order
  local n=${1//-/_} d
  [ -z "${seen[$n]:-}" ] || return 0
  [ -n "${ko[$n]:-}" ] || die "the kernel has no module $1 (listed in modules)"
  seen[$n]=1
  for d in ${needs[$n]//,/ }; do with_deps "$d"; done
  order+=("$n")
}

# --- initrd
i=$work/initrd; r=$work/root
mkdir -p "$i"/{bin,dev,proc,sys,mnt,mod} "$r/usr/lib/modules/$kver"
mkdir "$work/static"; dpkg-deb -x "${deb[busybox-static]}" "$work/static"; static=$work/static/bin/busybox
install -m 755 "$static" "$i/bin/busybox"
ln -s busybox "$i/bin/sh"
install -m 755 "$here/initrd/init" "$i/init"
for stage in initrd late; do
  order=()
  for m in $(list "$here/modules" | awk -v s=$stage '$1 == s { print $2 }'); do with_deps "$m"; done
  for m in "${order[@]}"; do cp "${ko[$m]}" "$i/mod/"; basename "${ko[$m]}"; done > "$i/mod/$stage"
done
for m in $(list "$here/modules" | awk '$1 == "root" { print $2 }'); do with_deps "$m"; done
for m in "${!seen[@]}"; do cp "${ko[$m]}" "$r/usr/lib/modules/$kver/"; done
find "$i" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
(cd "$i" && find . | sort | cpio -o -H newc --quiet --reproducible -R 0:0 | gzip -9n) > "$work/initrd.gz"

# --- root file system: one directory of programs and one of libraries, so that every customary path works
mkdir -p "$r"/{dev,proc,sys,run,tmp,mnt,media,root,home,boot,opt,etc,srv} "$r"/usr/{bin,lib,local/bin,share} "$r"/var/{log,lib,tmp,cache}
for d in bin sbin; do ln -s usr/bin "$r/$d"; done
ln -s bin "$r/usr/sbin"; ln -s usr/lib "$r/lib"; ln -s usr/lib "$r/lib64"; ln -s . "$r/usr/lib/x86_64-linux-gnu"; ln -s /run "$r/var/run"
chmod 700 "$r/root"; chmod 1777 "$r/tmp" "$r/var/tmp"
# Two BusyBoxes: the static one for init and the guest's own scripts, the dynamic one, whose shell prefers real
# programs to its applets, for users; it lacks a few applets of the other.
install -D -m 755 "$static" "$r/usr/lib/hanok-guest/busybox"
install -m 755 "$g/bin/busybox" "$r/usr/bin/busybox"
applets() { "$1" --list | grep -vx busybox | R=$r TO=$2 perl -lne 'symlink $ENV{TO}, "$ENV{R}/usr/bin/$_"'; }
ln -s ../lib/hanok-guest/busybox "$r/usr/bin/init"
for a in poweroff reboot halt; do ln -s ../lib/hanok-guest/busybox "$r/usr/bin/$a"; done
applets "$g/bin/busybox" busybox
applets "$static" ../lib/hanok-guest/busybox
libpath=$g/lib/x86_64-linux-gnu:$g/usr/lib/x86_64-linux-gnu:$g/usr/libexec/sudo
loader=$g/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
: > "$work/libs"
while read -r f; do
  [ -e "$g$f" ] || die "the packages contain no $f (listed in guest-programs)"
  case $f in
  */bin/* | */sbin/*) to=$r/usr/bin/${f##*/} ;;
  /lib/x86_64-linux-gnu/*) to=$r/usr/lib/${f#/lib/x86_64-linux-gnu/} ;;
  *) to=$r$f ;;
  esac
  mkdir -p "${to%/*}"; rm -f "$to"; cp -L "$g$f" "$to"
  # The loader lists what the file needs; a library found outside the packages would be this machine's, and missing there.
  "$loader" --library-path "$libpath" --list "$g$f" >> "$work/libs" || die "the loader cannot read $f"
done < <(list "$here/guest-programs")
sort -u "$work/libs" | awk '$2 == "=>" && $1 !~ "/" { print $1, $3 }' | sort -u | while read -r name at; do
  case $at in "$g"/*) cp -L "$at" "$r/usr/lib/$name" ;; *) die "no package listed in guest-packages contains $name" ;; esac
done
cp -L "$loader" "$r/usr/lib/"
ln -sf mke2fs "$r/usr/bin/mkfs.ext4"; ln -sf mke2fs "$r/usr/bin/mkfs.ext3"; ln -sf mke2fs "$r/usr/bin/mkfs.ext2"
ln -s e2fsck "$r/usr/bin/fsck.ext4"; ln -sf mkdosfs "$r/usr/bin/mkfs.vfat"
ln -sf dbclient "$r/usr/bin/ssh"; ln -sf ping "$r/usr/bin/ping6"; ln -sf ping "$r/usr/bin/ping4"
ln -s openssh/sftp-server "$r/usr/lib/sftp-server"
cp "$g/etc/mke2fs.conf" "$r/etc/"
ln -s /proc/self/mounts "$r/etc/mtab"
cp -a --remove-destination --no-preserve=ownership "$here/rootfs/." "$r/"
mkdir -p "$r/etc/dropbear"; chmod 440 "$r/etc/sudoers"; chmod 600 "$r/etc/shadow"; chmod 4755 "$r/usr/bin/sudo"
"$static" depmod -b "$r" "$kver" 2>/dev/null || die "busybox depmod failed"
cmdline=$(list "$here/cmdline" | tr '\n' ' ' | sed 's/ $//')
cp "$g/boot/vmlinuz-$kver" "$r/boot/vmlinuz"
cp "$work/initrd.gz" "$r/boot/initrd.gz"
find "$r" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

# --- file system and disk
fs_mib=124
make_fs() { # FILE
  rm -f "$1"
  E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -F -t ext4 -b 4096 -I 256 -i 32768 -m 1 -J size=4 -U "$uuid" -L hanok-root \
    -E "hash_seed=$uuid,resize=268435456,lazy_itable_init=1" -d "$r" "$1" ${fs_mib}M >/dev/null
  # The change times are those of the copies just made; they alone would make every build differ.
  dumpe2fs -h "$1" 2>/dev/null | awk -F': *' -v at="@$SOURCE_DATE_EPOCH" '{ v[$1] = $2 }
    END { for (i = 11; i <= v["Inode count"] - v["Free inodes"]; i++) print "sif <" i "> ctime " at }' > "$work/times"
  E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH debugfs -w -f "$work/times" "$1" >/dev/null 2>&1
}
make_fs "$work/part"
sed "s|@CMDLINE@|$cmdline|" "$here/grub.cfg" > "$work/grub.cfg"
grub-mkimage -O i386-pc -o "$work/core.img" -c "$work/grub.cfg" -p '(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2 linux normal
[ "$(stat -c %s "$work/core.img")" -lt $((2047 * 512)) ] || die "GRUB's core image does not fit before the first partition"
truncate -s $(((fs_mib + 1) * 1024 * 1024)) "$work/disk"
# The boot record: a disk signature, one active Linux partition from sector 2048, the mark. Addresses by cylinder are void.
le32() { printf '\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255)); }
dd if=/usr/lib/grub/i386-pc/boot.img of="$work/disk" bs=440 count=1 conv=notrunc status=none # expects the core at sector 1
printf "hnk0\0\0\x80\xfe\xff\xff\x83\xfe\xff\xff$(le32 2048)$(le32 $((fs_mib * 2048)))" | dd of="$work/disk" bs=1 seek=440 conv=notrunc status=none
printf '\x55\xaa' | dd of="$work/disk" bs=1 seek=510 conv=notrunc status=none
dd if="$work/core.img" of="$work/disk" bs=512 seek=1 conv=notrunc status=none
dd if="$work/part" of="$work/disk" bs=1M seek=1 conv=notrunc,sparse status=none
mkdir -p "$(dirname "$out")"
qemu-img convert -c -O qcow2 "$work/disk" "$out.new"
if [ -n "$kerneldir" ]; then
  mkdir -p "$kerneldir"
  cp "$g/boot/vmlinuz-$kver" "$kerneldir/vmlinuz"; cp "$work/initrd.gz" "$kerneldir/"; echo "$cmdline" > "$kerneldir/cmdline"
  qemu-img convert -c -O qcow2 "$work/part" "$kerneldir/root.qcow2"
fi
mv "$out.new" "$out"
echo "$out: $(stat -c %s "$out") bytes, $((fs_mib + 1)) MiB virtual, kernel $kver, sha256 $(sha256sum "$out" | cut -c1-16), built in $(($(date +%s) - started)) s"
