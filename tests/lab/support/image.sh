#!/bin/sh
# Builds one base image for the lab: image.sh TARGET SUITE PACKAGES BASE SCRIPT. Run under flock by images.ts.
# A debootstrap of SUITE with PACKAGES (comma-separated), or, where BASE is not empty, a copy of that image; then SCRIPT
# in it. TARGET appears whole, by one rename, or not at all.
set -eu
target=$1 suite=$2 packages=$3 base=$4 script=$5
[ ! -d "$target" ] || exit 0

# Mounts of ours, and of debootstrap, end with this namespace.
if [ "${IN_NAMESPACE:-}" != yes ]; then
  IN_NAMESPACE=yes exec unshare -m --propagation private sh "$0" "$@"
fi

# What earlier builds left when they were killed.
rm -rf "$target".building.*
new=$target.building.$$
mkdir "$new"
trap 'umount -l "$new/proc" "$new" 2>/dev/null || :; rm -rf "$new" "$target.building.whole"' EXIT
trap 'exit 1' HUP INT TERM
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
# In memory where there is enough of it: packages are unpacked with a flush for each file.
if [ "$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)" -gt 4000000 ]; then
  mount -t tmpfs -o size=2g,mode=755 tmpfs "$new"
fi
if [ -n "$base" ]; then
  cp -a "$base/." "$new"
else
  debootstrap --variant=minbase --include="$packages" "$suite" "$new"
fi

# Nothing of the image may start while it is made, and there is nothing to flush for.
printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
chmod 755 "$new/usr/sbin/policy-rc.d"
printf 'force-unsafe-io\n' >"$new/etc/dpkg/dpkg.cfg.d/lab"
cp /etc/resolv.conf "$new/etc/resolv.conf"
mount -t proc proc "$new/proc"
printf '%s\n' "$script" | chroot "$new" /bin/sh -eu
umount "$new/proc"
rm -rf "$new/usr/sbin/policy-rc.d" "$new/var/cache/apt/archives/"*.deb
cp -a "$new" "$target.building.whole"
mv "$target.building.whole" "$target"
