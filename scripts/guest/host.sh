# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# shellcheck disable=SC2034	# the variables are for jobs that source this
#
# Shared by the jobs that start KVM guests. They run on the host, a booted
# kernel, and use QEMU from the machine's root, mounted over 9p.

KSM=/sys/kernel/mm/ksm
ROOT=/host

# parameter NAME DEFAULT: a parameter of the kernel command line.
parameter()
{
	local value

	value=$(sed -n "s/.* $1=\([^ ]*\).*/\1/p" /proc/cmdline)
	echo "${value:-$2}"
}

tell()
{
	echo "$*" > /dev/ttyS1
}

fail()
{
	tell "FAILED: $*"
	exit 1
}

mount_root()
{
	mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose host $ROOT ||
		fail "cannot mount the machine's root over 9p; see the log"
	mount -t proc proc $ROOT/proc
	mount --bind /dev $ROOT/dev
	mount --bind /sys $ROOT/sys
	mount -t tmpfs tmpfs $ROOT/tmp
	cp /guest/* $ROOT/tmp/
}

# As Debian's package starts it; the root is read-only.
start_ksmtuned()
{
	PIDFILE=/tmp/ksmtuned.pid chroot $ROOT /tmp/ksmtuned ||
		fail "ksmtuned does not start"
}

# start_merging PAGES_TO_SCAN: unless the kernel command line has another way.
start_merging()
{
	case $(parameter ksm_tuning fixed) in
	fixed)
		echo "$1" > $KSM/pages_to_scan
		echo 20 > $KSM/sleep_millisecs
		echo 1 > $KSM/run ;;
	pressure)
		echo pressure > $KSM/advisor_mode || fail "this kernel has no mode pressure"
		echo 1 > $KSM/run ;;
	ksmtuned)
		start_ksmtuned ;;
	esac
}

# prepare_host GUESTS MEMORY PAGES_TO_SCAN: the kernel command line can change
# the first two. Turns merging on.
prepare_host()
{
	GUESTS=$(parameter ksm_guests "$1")
	MEMORY=$(parameter ksm_memory "$2")
	[ -d $KSM ] || fail "this kernel has no KSM"
	mount_root
	[ -c /dev/kvm ] ||
		fail "the emulated CPU has no virtualisation, so KVM guests cannot run"
	[ -x $ROOT/usr/bin/qemu-system-x86_64 ] ||
		fail "QEMU is missing on this machine; install it with: apt-get install qemu-system-x86"
	ksmd=$(pidof ksmd)
	start_merging "$3"
}

# ksmtuned counts the memory of processes with such a command line.
# A microvm has no clock chip: its driver is left out, since it tries for many seconds.
start_guest()
{
	PATH=/usr/bin:$PATH chroot $ROOT qemu-system-x86_64 -nodefaults -no-user-config \
		-display none -no-reboot -machine microvm -enable-kvm -cpu host,-xsave,-svm \
		-smp 1 -m "${MEMORY}M" -kernel /tmp/kernel -initrd /tmp/initrd \
		-append "console=ttyS0 panic=-1 initcall_blacklist=cmos_init" \
		-serial "file:/tmp/guest$1.log" > "/tmp/qemu$1.log" 2>&1 &
	echo $! > "/tmp/qemu$1.pid"
}

guests_up()
{
	cat $ROOT/tmp/guest*.log 2> /dev/null | grep -c 'GUEST UP'
}

figure()
{
	cat "$KSM/$1" 2> /dev/null || echo 0
}

# CPU time of ksmd, in hundredths of a second.
ksmd_ticks()
{
	awk '{ print $14 + $15 }' "/proc/$ksmd/stat"
}

hundredths()
{
	awk '{ printf "%d", $1 * 100 }' /proc/uptime
}

# Resident memory of the guests, in KiB.
resident()
{
	local pid sum=0 kib

	for pid in $(pidof qemu-system-x86_64); do
		kib=$(awk '/^Rss:/ { print $2 }' "/proc/$pid/smaps_rollup" 2> /dev/null)
		sum=$((sum + ${kib:-0}))
	done
	echo $sum
}

mib()
{
	echo $(($1 * 4 / 1024))
}

dump_logs()
{
	local file

	for file in /tmp/qemu*.log /host/tmp/guest*.log; do
		[ ! -s "$file" ] || { echo "== $file"; cat "$file"; } > /dev/console
	done
}
