# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016	# these are variables of Perl
# shellcheck disable=SC2154	# host-tests sets KSM and RUN
#
# Part of host-tests: guests and containers of several tenants.

CGROUPS=/sys/fs/cgroup
CONTAINERS=$CGROUPS/host-containers

# The frames of shared pages that a process maps.
shared_frames()
{
	perl -e '
		open(my $maps, "<", "/proc/$ARGV[0]/maps") or die $!;
		open(my $pagemap, "<", "/proc/$ARGV[0]/pagemap") or die $!;
		open(my $flags, "<", "/proc/kpageflags") or die $!;
		while (<$maps>) {
			my ($start, $end) = /^([0-9a-f]+)-([0-9a-f]+) rw/ or next;
			my $pages = (hex($end) - hex($start)) >> 12;
			sysseek($pagemap, hex($start) >> 9, 0);
			sysread($pagemap, my $entries, 8 * $pages);
			for my $entry (unpack("Q*", $entries)) {
				$entry >> 63 or next;
				my $pfn = $entry & ((1 << 55) - 1);
				sysseek($flags, 8 * $pfn, 0);
				sysread($flags, my $flag, 8);
				print "$pfn\n" if unpack("Q", $flag) & 1 << 21;
			}
		}
	' "$1" | sort -u
}

# The number of frames that both processes map.
frames_of_both()
{
	comm -12 <(shared_frames "$1") <(shared_frames "$2") | wc -l
}

share_frames()
{
	[ "$(frames_of_both "$1" "$2")" -ge "$3" ]
}

domain_of()
{
	sed -n 's/^ksm_domain //p' "/proc/$1/ksm_stat"
}

# The directory that holds the cgroups of two processes.
common_cgroup()
{
	local first second

	first=$(sed -n 's/^0:://p' "/proc/$1/cgroup")
	second=$(sed -n 's/^0:://p' "/proc/$2/cgroup")
	while [[ $second/ != "$first"/* ]]; do
		first=${first%/*}
	done
	printf '%s' "$CGROUPS$first"
}

# isolate 0|1: nothing may be shared while it changes.
isolate()
{
	echo 2 > "$KSM/run"
	echo "$1" > "$KSM/merge_across_cgroups" || why "merge_across_cgroups does not become $1"
	ksm-apply --quiet
}

end_tenants()
{
	end_guests
	isolate 1
}

guests_isolated()
{
	local one other group

	trap end_tenants EXIT
	begin_guests
	isolate 0
	define one 64
	define other 64
	goes_on one
	goes_on other
	one=$(pid_of one)
	other=$(pid_of other)
	within 60 merged_pages "$one" 500 || why "the first guest does not merge"
	within 60 merged_pages "$other" 500 || why "the second guest does not merge"
	printf '# domains %s and %s, %s frames of both\n' "$(domain_of "$one")" \
		"$(domain_of "$other")" "$(frames_of_both "$one" "$other")"
	[ "$(domain_of "$one")" != "$(domain_of "$other")" ] || why "both guests are in one domain"
	[ "$(frames_of_both "$one" "$other")" = 0 ] || why "the guests share pages"
	group=$(common_cgroup "$one" "$other")
	printf '# %s\n' "$group"
	echo 1 > "$group/memory.ksm.group" || why "$group cannot be a group"
	within 120 share_frames "$one" "$other" 100 || why "the guests of a group do not share pages"
	printf '# in a group: domains %s and %s, %s frames of both\n' "$(domain_of "$one")" \
		"$(domain_of "$other")" "$(frames_of_both "$one" "$other")"
	goes_on one
	echo 0 > "$group/memory.ksm.group"
}

# A container with the files of this machine. Its program does not ask for merging.
container()
{
	local dir=$RUN/$1

	mkdir -p "$dir/rootfs"
	mount --bind / "$dir/rootfs"
	runc spec --bundle "$dir"
	sed -i -e 's/"terminal": true/"terminal": false/' -e 's,"linux": {,&"cgroupsPath": "/host-containers/'"$1"'"\,,' \
		-e "s/\"sh\"/\"perl\", \"-e\", \"\$m = pack('A4096', 'the same') x 8192; sleep 10000\"/" \
		"$dir/config.json"
	runc run --detach --pid-file "$RUN/$1.pid" --bundle "$dir" "$1" \
		< /dev/null > "$dir/out" 2>&1 || why "runc does not start $1: $(tail -n 1 "$dir/out")"
}

end_containers()
{
	local name

	for name in first second; do
		runc delete --force $name > /dev/null 2>&1 || true
		! mountpoint -q "$RUN/$name/rootfs" || umount "$RUN/$name/rootfs"
	done
	rmdir $CONTAINERS 2> /dev/null || true
	rm -rf --one-file-system "$RUN"
	ksm-apply --quiet
}

unmerged()
{
	[ "$(merging "$1")" = 0 ]
}

containers_merge()
{
	trap end_containers EXIT
	mkdir -p "$RUN" $CONTAINERS
	echo +memory > $CGROUPS/cgroup.subtree_control
	ksmrun --cgroup $CONTAINERS on || why "memory.ksm.merge cannot be set"
	container first
	container second
	within 60 merged_pages "$(cat "$RUN/first.pid")" 8000 || why "the first container does not merge"
	within 60 merged_pages "$(cat "$RUN/second.pid")" 8000 || why "the second container does not merge"
	show < $CONTAINERS/memory.ksm.stat
	ksmrun --cgroup $CONTAINERS off
	within 60 unmerged "$(cat "$RUN/first.pid")" || why "the first container is merged still"
}
