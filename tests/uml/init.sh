#!/bin/bash
# The guest's first process: gives it a root that keeps nothing, runs one command, says how it ended, powers off.
# usage: init.sh FOLDER SECONDS    a folder of the host with `command` (a bash script); it gets `exit`, or after
# SECONDS `processes`: where in the kernel each of them is, and the guest ends
folder=$1 most=$2
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t tmpfs tmpfs /run
mkdir /run/upper /run/work /run/root
insmod "/usr/lib/uml/modules/$(uname -r)/kernel/fs/overlayfs/overlay.ko"
mount -t overlay overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work /run/root
cd /run/root && mkdir -p .host lib/modules && pivot_root . .host && cd /
for kept in proc sys dev; do mount --move "/.host/$kept" "/$kept"; done
mount --bind /usr/lib/uml/modules /lib/modules
mount -t tmpfs tmpfs /run  # the repository may lie anywhere else, /tmp and /root included: what is written there goes above
mkdir -p /dev/pts /dev/shm /run/netns /run/host
mount -t devpts devpts /dev/pts -o ptmxmode=666; mount -t tmpfs tmpfs /dev/shm
mount -t hostfs host /run/host -o "$folder"
for tool in iptables ip6tables; do for tail in "" -save -restore; do
	ln -sf "/usr/sbin/$tool-legacy$tail" "/etc/alternatives/$tool$tail"
done; done
processes() { for at in /proc/[0-9]*/task/*; do
	mapfile -d "" -t words <$at/cmdline; mapfile stack <$at/stack; printf '%s' "${at#/proc/} ${words[*]}" $'\n' "${stack[@]}"
done; }
(sleep "$most"; processes >/run/host/processes 2>/dev/null; echo o >/proc/sysrq-trigger) &
hostname guest; ip link set lo up; modprobe ipv6
# so small a machine would track 3,072 connections, ended ones for two minutes: the next one's first packet is dropped.  A
# proxy raises it on a node, but may not in a network namespace
modprobe nf_conntrack && echo 131072 >/proc/sys/net/netfilter/nf_conntrack_max
stty -opost -echo </dev/tty1
setsid -c bash /run/host/command </dev/tty1 >/dev/tty1 2>&1
echo $? >/run/host/exit
sync; echo o >/proc/sysrq-trigger; sleep 60
