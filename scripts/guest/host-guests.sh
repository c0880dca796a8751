# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016	# these are variables of Perl
# shellcheck disable=SC2154	# host-tests sets KSM
#
# Part of host-tests: KVM guests.

# KVM guests. Each has its console in a file, and reports there after every round
# that its memory is correct. A test ends all guests that it started.

GUEST=/opt/ksm/guest
LOGS=/var/log/ksm-guests
RUN=/run/ksm-guests	# process ids, monitors and other files of running guests
CPU=host,-xsave,-svm
DIMM=128	# MiB, the least that Linux adds

need_kvm()
{
	[ -c /dev/kvm ] || modprobe kvm_amd 2> /dev/null || modprobe kvm_intel 2> /dev/null || true
	within 10 test -c /dev/kvm || why "/dev/kvm does not exist: $(dmesg | grep -i kvm | tail -n 1)"
}

begin_guests()
{
	need_kvm
	mkdir -p $LOGS $RUN
}

rounds()
{
	[ -e "$LOGS/$1" ] || { printf 0; return; }
	! grep -a WRONG "$LOGS/$1" >&2 || return 1
	grep -a -c ROUND "$LOGS/$1" || true
}

at_least()
{
	[ "$(rounds "$1")" -ge "$2" ]
}

# goes_on NAME: waits for more rounds, all correct. A boot is slow in an emulated
# machine.
goes_on()
{
	within 240 at_least "$1" $(($(rounds "$1") + 3)) ||
		why "guest $1 does not continue: $(tail -n 1 "$LOGS/$1" 2>&1)"
}

# vm NAME [ARGS...]: a guest without libvirt, ACPI and PCI, with a monitor in RUN.
vm()
{
	local name=$1

	shift
	rm -f "$LOGS/$name"
	qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
		-machine microvm,acpi=off -accel kvm -cpu $CPU -m 64M \
		-kernel $GUEST/kernel -initrd $GUEST/initrd -append 'console=ttyS0 quiet panic=-1' \
		-serial "file:$LOGS/$name" -monitor "unix:$RUN/$name.monitor,server=on,wait=off" \
		"$@" > "$LOGS/$name.qemu" 2>&1 &
	printf '%s\n' $! > "$RUN/$name.pid"
}

# hmp NAME COMMAND: prints the answer of the monitor.
hmp()
{
	timeout 30 perl -MIO::Socket::UNIX -e '
		$s = IO::Socket::UNIX->new(Peer => shift) or die "no monitor: $!\n";
		$/ = "(qemu) ";
		<$s>;
		print $s shift, "\n";
		print scalar <$s>;
	' "$RUN/$1.monitor" "$2" | tr -d '\r'
}

gone()
{
	[ ! -e "/proc/$1" ]
}

# Wait until QEMU is gone: when it ends, it removes its monitor by name, and could
# remove that of the next QEMU with this name.
end_vm()
{
	kill "$1" || true
	within 20 gone "$1" || kill -9 "$1" || true
	within 20 gone "$1"
}

virt()
{
	virsh -q -c qemu:///system "$@"
}

end_domains()
{
	local name

	command -v virsh > /dev/null || return 0
	for name in $(virt list --name); do
		virt destroy "$name"
	done
	for name in $(virt list --name --all); do
		virt undefine "$name"
	done
}

end_guests()
{
	local pid left

	[ -d $RUN ] || return 0
	while read -r pid; do
		end_vm "$pid" > /dev/null 2>&1 || true
	done < <(cat $RUN/*.pid 2> /dev/null)
	end_domains > /dev/null 2>&1
	rm -r $RUN
	left=$(pgrep -a qemu || true)
	[ -z "$left" ] || why "a guest is left: $left"
}

migrated()
{
	hmp first 'info migrate' | grep -q 'Migration status: completed'
}

# Migrate a guest while its pages are merged, written to and merged again.
guests_migrate()
{
	begin_guests
	vm first
	vm other
	goes_on first
	goes_on other
	within 60 merged_pages "$(cat $RUN/first.pid)" 500 || why "the guests do not merge"
	vm second -incoming "unix:$RUN/migration"
	within 30 test -S $RUN/migration || why "QEMU does not wait: $(cat $LOGS/second.qemu)"
	hmp first "migrate -d unix:$RUN/migration" > /dev/null
	within 120 migrated || why "no migration: $(hmp first 'info migrate' | tail -n 3)"
	end_vm "$(cat $RUN/first.pid)"
	goes_on second
	goes_on other
	rounds first > /dev/null || why "the guest was wrong before it was migrated"
	within 60 merged_pages "$(cat $RUN/second.pid)" 500 || why "it does not merge after the migration"
	printf '# %s rounds before and %s after it, all correct\n' "$(rounds first)" "$(rounds second)"
}

merging()
{
	sed -n 's/^ksm_merging_pages //p' "/proc/$1/ksm_stat"
}

# merged_pages PID NUMBER: whether at least NUMBER of its pages are merged.
merged_pages()
{
	[ "$(merging "$1")" -ge "$2" ]
}

# define NAME MIB [PARAMETERS [MEMORYBACKING [RESOURCE]]]: a guest of libvirt with a
# balloon and a free slot for a DIMM.
define()
{
	cat > "$RUN/$1.xml" << END
<domain type='kvm'>
  <name>$1</name>
  <maxMemory slots='2' unit='MiB'>1024</maxMemory>
  <memory unit='MiB'>$2</memory>
  <memoryBacking>${4:-}</memoryBacking>
  ${5:-}
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>$GUEST/kernel</kernel>
    <initrd>$GUEST/initrd</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 ${3:-}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='host-passthrough'>
    <feature policy='disable' name='xsave'/>
    <feature policy='disable' name='svm'/>
    <numa><cell id='0' cpus='0' memory='$2' unit='MiB'/></numa>
  </cpu>
  <devices>
    <serial type='file'><source path='$LOGS/$1'/></serial>
    <memballoon model='virtio'/>
  </devices>
</domain>
END
	rm -f "$LOGS/$1"
	virt define "$RUN/$1.xml"
	virt start "$1" || why "libvirt does not start guest $1: $(journalctl -o cat -u libvirtd | tail -n 1)"
}

pid_of()
{
	cat "/run/libvirt/qemu/$1.pid"
}

libvirt_shares()
{
	begin_guests
	define plain 64
	define apart 64 '' '<nosharepages/>'
	goes_on plain
	goes_on apart
	grep -q '^VmFlags:.* mg' "/proc/$(pid_of plain)/smaps" || why "the first guest is not marked"
	! grep -q '^VmFlags:.* mg' "/proc/$(pid_of apart)/smaps" || why "nosharepages leaves the guest marked"
	within 60 merged_pages "$(pid_of plain)" 500 || why "the first guest does not merge"
	! merged_pages "$(pid_of apart)" 1 || why "the guest with nosharepages merges"
}

# After a restore from a file, all memory is new and merges again.
libvirt_restores()
{
	begin_guests
	define plain 64
	goes_on plain
	within 60 merged_pages "$(pid_of plain)" 500 || why "it does not merge"
	virt save plain $RUN/plain.save || why "plain is not saved"
	virt restore $RUN/plain.save || why "plain is not restored"
	goes_on plain
	within 60 merged_pages "$(pid_of plain)" 500 || why "it no longer merges"
}

# The number of extra files that a guest had in its last round.
more()
{
	grep -a -o 'MORE [0-9]*' "$LOGS/$1" | awk '{ n = $2 } END { print n + 0 }'
}

# has_more NAME OPERATOR NUMBER
has_more()
{
	test "$(more "$1")" "$2" "$3"
}

# balloon_leaves NAME MIB: whether the guest has that much memory.
balloon_leaves()
{
	[ "$(virt dommemstat "$1" | awk '$1 == "actual" { print $2 }')" = $(($2 * 1024)) ]
}

resize()
{
	virt setmem "$1" "$2M" --live
	within 120 balloon_leaves "$1" "$2" ||
		why "the balloon does not resize $1 to $2 MiB: $(virt dommemstat "$1" | tr '\n' ' ')"
}

resident()
{
	awk '$1 == "VmRSS:" { print int($2 / 1024) }' "/proc/$1/status"
}

# balloon_state NAME WHEN
balloon_state()
{
	printf '# %s: %s extra files, %s MiB resident, %s pages merged\n' "$2" "$(more "$1")" \
		"$(resident "$(pid_of "$1")")" "$(merging "$(pid_of "$1")")"
}

# gives NAME MIB: the balloon takes memory until MIB are left, and the guest removes
# files. Linux itself takes about 12 MiB, and 32 MiB are spare.
gives()
{
	local most=$((($2 - 12 - 32) / 2))

	resize "$1" "$2"
	within 120 has_more "$1" -le $most ||
		why "the guest with $2 MiB still has $(more "$1") extra files"
}

# fills NAME NUMBER: waits until the guest has NUMBER extra files and they merge.
fills()
{
	local pid

	pid=$(pid_of "$1")
	within 240 has_more "$1" -ge "$2" ||
		why "the guest does not use its memory: it has $(more "$1") extra files"
	within 120 merged_pages "$pid" $(($2 * 400)) ||
		why "only $(merging "$pid") pages of the guest merged"
}

# keep_holes: until the test ends, khugepaged collapses only ranges that are mapped
# completely. Otherwise it would map again what the balloon has taken from a range.
keep_holes()
{
	local file=/sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none

	# shellcheck disable=SC2064	# the value is that of now
	trap "echo $(cat $file) > $file; end_guests" EXIT
	echo 0 > $file
}

# The guest fills all but 32 MiB of its memory and touches most of these too, so much
# of what the balloon takes was merged. Afterwards the guest fills its memory again.
guest_gives_memory()
{
	local pid mib before after merged

	begin_guests
	keep_holes
	define balloon 88 spare=32
	fills balloon 19
	pid=$(pid_of balloon)
	before=$(resident "$pid")
	merged=$(merging "$pid")
	balloon_state balloon 'with 88 MiB'
	for mib in 80 72 64 56 48; do
		gives balloon $mib
	done
	goes_on balloon
	after=$(resident "$pid")
	balloon_state balloon 'with 48 MiB'
	[ "$after" -le $((before - 12)) ] ||
		why "QEMU has $after of $before MiB after the balloon took 40"
	[ "$(merging "$pid")" -le $((merged - 12 * 256)) ] ||
		why "$(merging "$pid") of $merged merged pages are left after the balloon took 10240"
	resize balloon 88
	fills balloon 19
	goes_on balloon
	balloon_state balloon 'with 88 MiB again'
}

# dimm_has PID KIB: whether at least KIB of the added DIMM are merged.
dimm_has()
{
	awk -v size=$((DIMM * 1024)) -v least="$2" '
		$1 == "Size:" { dimm = ($2 == size) }
		dimm && $1 == "KSM:" { kib = $2 }
		dimm && $1 == "VmFlags:" && / mg( |$)/ { marked = 1 }
		END { printf "# %s KiB of it merged\n", kib + 0; exit !(marked && kib >= least) }
	' "/proc/$1/smaps"
}

# The guest fills only as much as the DIMM adds.
guest_gets_memory()
{
	begin_guests
	define grows 64 spare=$((DIMM + 28))
	goes_on grows
	has_more grows = 0 || why "the guest has $(more grows) extra files before it has the memory"
	printf "<memory model='dimm'><target><size unit='MiB'>%s</size><node>0</node></target></memory>\n" \
		$DIMM > $RUN/dimm.xml
	virt attach-device grows $RUN/dimm.xml --live || why "libvirt does not attach the DIMM"
	fills grows 10
	within 60 dimm_has "$(pid_of grows)" 16384 > /dev/null ||
		why "it does not merge: $(dimm_has "$(pid_of grows)" 0)"
	goes_on grows
	printf '# %s extra files\n' "$(more grows)"
	dimm_has "$(pid_of grows)" 0
}
