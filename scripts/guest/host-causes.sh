# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016	# these are variables of Perl
# shellcheck disable=SC2154	# host-tests sets KSM and RUN
#
# Part of host-tests: the causes for which memory does not merge, and what ksmtop tells of
# a process for each.

SAME=/tmp/host-same	# 32 MiB of one page
SWAPPED=/sys/fs/cgroup/host-swapped

# System calls and constants for Perl, which has no names for them.
PERL='
	use constant { MMAP => 9, MADVISE => 28, PRCTL => 157, URING_SETUP => 425,
		       URING_REGISTER => 427, HUGE => 14, MERGEABLE => 12, MERGE => 67 };
	sub map_bytes { syscall(MMAP, 0, $_[0], 3, 0x22, -1, 0) }
	sub at { unpack("Q", pack("P", $_[0])) }
	sub say_ready { syswrite(STDOUT, "ready\n") }
	sub load { open(my $f, "<", $_[0]) or die $!; sysread($f, $m, $_[1]) == $_[1] or die }
'

# begin NAME COMMAND...: runs a process in the background. Its PID is in RUN.
begin()
{
	local name=$1

	shift
	"$@" > "$RUN/$name.out" 2>&1 &
	printf '%s\n' $! > "$RUN/$name.pid"
}

# program NAME TEXT: likewise a program for Perl, which says "ready" and stays.
program()
{
	begin "$1" perl -e "$PERL $2; say_ready(); sleep 10000"
}

# marked NAME TEXT: likewise, with all of its memory marked.
marked()
{
	begin "$1" ksmrun perl -e "$PERL $2; say_ready(); sleep 10000"
}

ready()
{
	within 60 grep -q ready "$RUN/$1.out" || why "$1 is not ready: $(cat "$RUN/$1.out")"
}

# passes NUMBER: waits for so many full passes from now on.
passes()
{
	local last

	# The pass that runs has begun earlier.
	last=$(($(figure full_scans) + $1 + 1))
	within 120 holds full_scans -ge $last || why "full_scans does not come to $last"
}

told()
{
	ksmtop --batch --pid "$1" | awk -v pid="$1" '$1 == pid'
}

says()
{
	[[ $(told "$1") == *"$2"* ]]
}

# tells NAME WORDS: waits until ksmtop says WORDS of a process.
tells()
{
	local pid

	pid=$(cat "$RUN/$1.pid")
	within 60 says "$pid" "$2" || why "ksmtop does not say \"$2\", but: $(told "$pid")"
	told "$pid" | show
}

cause_shared_memory()
{
	vm shared -object memory-backend-memfd,id=ram,size=64M,share=on -machine memory-backend=ram
	goes_on shared
	tells shared 'mapped shared, cannot merge'
}

cause_hugetlb()
{
	echo 40 > /proc/sys/vm/nr_hugepages
	vm huge -object memory-backend-memfd,id=ram,size=64M,hugetlb=on,share=off \
		-machine memory-backend=ram
	goes_on huge
	tells huge 'hugetlb pages, cannot merge'
	end_guests
	echo 0 > /proc/sys/vm/nr_hugepages
}

# Fixed buffers of io_uring are pinned for as long as they are registered.
cause_pinned()
{
	marked pinned 'load("'"$SAME"'", 32 << 20);
		$ring = syscall(URING_SETUP, 4, $params = "\0" x 120);
		$buffer = pack("QQ", at($m), 32 << 20);
		syscall(URING_REGISTER, $ring, 0, $buffer, 1) == 0 or die "register: $!"'
	ready pinned
	tells pinned 'equal pages, but pinned'
}

cause_too_early()
{
	program early 'if (!($pid = fork)) { sleep 10000; exit }
		open(my $f, ">", "'"$RUN"'/child.pid"); print $f "$pid\n"; close($f);
		syscall(PRCTL, MERGE, 1, 0, 0, 0)'
	within 10 test -s "$RUN/child.pid"
	tells child 'started before the prctl'
}

# The program rewrites each page.  ksmd is slow enough for it on any machine.
cause_changing()
{
	echo 500 > "$KSM/sleep_millisecs"
	marked changing 'load("/dev/urandom", 32 << 20); $from = substr($m, 0, 1 << 20);
		say_ready();
		for (;;) {
			substr($m, $_ << 12, 4096, substr($from, 8 * $n++ % (1 << 19), 4096))
				for 0 .. 8191;
		}'
	ready changing
	tells changing 'changes faster than passes'
}

cause_empty()
{
	program empty '$at = map_bytes(32 << 20); syscall(MADVISE, $at, 32 << 20, MERGEABLE)'
	tells empty 'marked, but empty'
}

cause_unique()
{
	marked unique 'load("/dev/urandom", 32 << 20)'
	ready unique
	passes 3
	tells unique 'no duplicates'
}

# Both processes map the same pages.
cause_forked()
{
	marked forked 'load("/dev/urandom", 32 << 20); fork'
	ready forked
	passes 3
	tells forked 'already shared by fork'
	pgrep -P "$(cat "$RUN/forked.pid")" > "$RUN/child.pid"
	tells child 'already shared by fork'
	kill "$(cat "$RUN/child.pid")"
}

swap_out()
{
	echo 64M > $SWAPPED/memory.reclaim 2> /dev/null || true
	says "$(cat "$RUN/swapped.pid")" 'marked memory is in swap'
}

cause_swapped()
{
	[ -e /sys/block/zram0 ] || modprobe zram
	swapon --show=NAME --noheadings | grep -q zram0 || {
		echo 1 > /sys/block/zram0/reset
		echo 128M > /sys/block/zram0/disksize
		mkswap -q /dev/zram0
		swapon /dev/zram0
	}
	mkdir -p $SWAPPED
	begin swapped sh -c 'echo $$ > '$SWAPPED'/cgroup.procs; exec "$@"' sh \
		ksmrun perl -e "$PERL"' load("/dev/urandom", 32 << 20); sleep 10000'
	within 60 swap_out || why "ksmtop says: $(told "$(cat "$RUN/swapped.pid")")"
	tells swapped 'marked memory is in swap'
}

cause_stopped()
{
	echo 0 > "$KSM/run"
	marked stopped 'load("'"$SAME"'", 32 << 20)'
	tells stopped 'KSM is stopped (run is 0)'
}

# cause NAME: what ksmtop tells of one cause. The words are its own.
cause()
{
	trap 'end_guests; ksm-apply --quiet; swapoff -a; rmdir $SWAPPED 2> /dev/null || true' EXIT
	perl -e 'print pack("A4096", "the same") x 8192' > $SAME
	begin_guests
	"cause_$1"
}
