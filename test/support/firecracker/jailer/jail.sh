#!/bin/sh
# Becomes the monitor in its jail. $1: the jail's directory, $2: user, $3: group, $4: file to run in it, $5: a directory
# that the stand-in needs besides the system's; the rest are its arguments.
#
# What runs here is no static binary, so the system's programs and libraries are brought in. They are mounted, as the jail
# itself is, on a root that only this process sees; on the host the jail looks as the jailer leaves it.
set -e
umask 022
root=$1 uid=$2 gid=$3 exec=$4 needed=$5
shift 5
mount -t tmpfs -o mode=755 fireteact-jail /mnt
bring() {
  if [ -d "$1" ]; then mkdir -p "/mnt$2"; else : >"/mnt$2"; fi
  mount --rbind "$1" "/mnt$2"
}
mkdir /mnt/dev /mnt/dev/net
for entry in "$root"/*; do
  [ "$entry" = "$root/dev" ] || bring "$entry" "/${entry##*/}"
done
for device in kvm net/tun urandom; do bring "$root/dev/$device" "/dev/$device"; done
bring /dev/null /dev/null
for system in /usr /bin /lib /lib64 /etc /proc "$needed"; do bring "$system" "$system"; done
exec chroot --userspec="$uid:$gid" --groups= /mnt "/$exec" "$@"
