# Runs a program in the root $1 with the directory $2 as its working directory, /mnt: ROOT DIRECTORY PROGRAM ARGUMENT... In mount and
# process namespaces of its own, so that nothing is left when it ends. The root itself cannot be changed.
# The mounts of this machine that are not below that directory are not there: else nobody could unmount one before the program ends.
# Tahoe-LAFS's tests run with the profile that its authors have for machines of unknown speed: without it, examples that
# Hypothesis generates must end within 200 ms, and one of them adds 255 leases.
set -eu
root=$1 work=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount --rbind /dev "$root/dev"
mount --rbind "$work" "$root/mnt"
mkdir "$root/run/machine"
cd "$root"
pivot_root . run/machine
umount -l /run/machine
rmdir /run/machine
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/mnt TMPDIR=/mnt/tmp LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 \
	TAHOE_LAFS_HYPOTHESIS_PROFILE=ci \
	sh -c 'cd /mnt && exec "$@"' sh "$@"
