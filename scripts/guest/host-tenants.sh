# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016	# these are variables of Perl
# shellcheck disable=SC2154	# host-tests sets KSM and RUN
#
# Part of host-tests: guests and containers of several tenants, with the commands
# and files of the guide.

CGROUPS=/sys/fs/cgroup
UNITS=/run/systemd/system
GUIDE=/opt/ksm/guide.rst
# For Perl: 8192 pages of one content. Without quotes and dollars, so that it fits in a
# unit and in JSON.
PROGRAM='push @pages, pack(q(A4096), q(the same)) x 8192; sleep 10000'
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

# guide_has START [MORE]: the line of an example in the guide that begins so, and so many
# more lines.
guide_has()
{
	grep -m 1 -A "${2:-0}" -- "^	$1" "$GUIDE" | cut -c 2- | grep . ||
		why "the guide has no example with \"$1\""
}

# guide_runs COMMAND: runs the command of the guide that begins so.
guide_runs()
{
	local command

	command=$(guide_has "# $1") || return 1
	printf '%s\n' "$command" | show
	bash -c "${command#\# }" 2>&1 | show
}

# isolate 0|1: nothing may be shared while it changes.
isolate()
{
	echo 2 > "$KSM/run"
	echo "$1" > "$KSM/merge_across_cgroups" || why "merge_across_cgroups does not become $1"
	ksm-apply --quiet
}

# end_tenants SLICE
end_tenants()
{
	end_guests
	isolate 1
	systemctl disable --quiet "ksm-group@$1.service"
	systemctl stop "$1.slice" 2> /dev/null || true
}

# Start the slice anew, as after a boot, with a guest in it.
slice_holds()
{
	end_guests
	systemctl stop machine-customer1.slice
	[ ! -e "$1" ] || why "$1 is there without its slice"
	begin_guests
	define one 64 '' '' "$2"
	within 20 grep -q 1 "$1/memory.ksm.group" ||
		why "$1 is no group after it has started anew"
}

guests_isolated()
{
	local one other partition group=$CGROUPS/machine.slice/machine-customer1.slice

	trap 'end_tenants machine-customer1' EXIT
	begin_guests
	isolate 0
	partition=$(guide_has '<resource>' 2)
	define one 64 '' '' "$partition"
	define other 64 '' '' "$partition"
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
	guide_runs 'systemctl enable --now ksm-group@machine-customer1' ||
		why "$group cannot be a group"
	within 120 share_frames "$one" "$other" 100 || why "the guests of a group do not share pages"
	printf '# in a group: domains %s and %s, %s frames of both\n' "$(domain_of "$one")" \
		"$(domain_of "$other")" "$(frames_of_both "$one" "$other")"
	goes_on one
	slice_holds "$group" "$partition"
}

# Two programs in scopes of a slice, as Proxmox VE starts its guests. The slice is empty
# when it becomes a group.
scopes_grouped()
{
	local name one other

	trap 'end_tenants qemu' EXIT
	mkdir -p "$RUN"
	isolate 0
	guide_runs 'systemctl enable --now ksm-group@qemu' || why "qemu.slice cannot be a group"
	head -c 8M /dev/urandom > "$SAME"
	for name in 100 101; do
		begin $name systemd-run --quiet --scope --slice=qemu --unit=$name \
			ksmrun perl -e "$PERL load('$SAME', 8 << 20); sleep 10000"
	done
	one=$(cat "$RUN/100.pid")
	other=$(cat "$RUN/101.pid")
	within 60 share_frames "$one" "$other" 2000 ||
		why "the scopes do not share pages: $(cat "$RUN/100.out")"
	printf '# %s and %s in domain %s, %s frames of both\n' "$(cat "/proc/$one/cgroup")" \
		"$(cat "/proc/$other/cgroup")" "$(domain_of "$one")" "$(frames_of_both "$one" "$other")"
	[ "$(domain_of "$one")" = "$(stat -c %i "$CGROUPS/qemu.slice")" ] || why "qemu.slice is no domain"
	end_guests
	sleep 2
	grep -q 1 "$CGROUPS/qemu.slice/memory.ksm.group" || why "qemu.slice is no group once it is empty"
}

end_service()
{
	systemctl stop host-service
	rm -r $UNITS/host-service.service*
	systemctl daemon-reload
}

service_merges()
{
	local unit=host-service.service post action

	post=$(guide_has ExecStartPost=)
	trap end_service EXIT
	mkdir -p $UNITS/$unit.d
	printf '[Service]\nExecStart=perl -e "%s"\n' "$PROGRAM" > $UNITS/$unit
	printf '[Service]\n%s\n' "$post" > $UNITS/$unit.d/override.conf
	systemctl daemon-reload
	for action in start restart; do
		systemctl $action $unit ||
			why "no $action of the service: $(journalctl -o cat -u $unit | tail -n 1)"
		within 60 merged_pages "$(systemctl show -P MainPID $unit)" 8000 ||
			why "the service does not merge after its $action"
	done
	systemctl show -P ExecStartPost $unit | show
}

# A container with the files of this machine.
container()
{
	local dir=$RUN/$1

	mkdir -p "$dir/rootfs"
	mount --bind / "$dir/rootfs"
	runc spec --bundle "$dir"
	sed -i -e 's/"terminal": true/"terminal": false/' -e 's,"linux": {,&"cgroupsPath": "/host-containers/'"$1"'"\,,' \
		-e "s/\"sh\"/\"perl\", \"-e\", \"$PROGRAM\"/" \
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

end_docker()
{
	docker rm --force first second > /dev/null 2>&1 || true
	systemctl stop docker.service docker.socket containerd.service
	systemctl disable --quiet ksm-merge@containers.service
	systemctl stop containers.slice 2> /dev/null || true
	ksm-apply --quiet
}

# docker_container NAME: with the files of this machine; its image has only links to /usr.
docker_container()
{
	docker run --detach --network=none --name "$1" --volume /usr:/usr:ro host-image \
		perl -e "$PROGRAM" > /dev/null || why "Docker does not start $1"
}

# Docker starts without a bridge, for which the small kernel has no modules.
docker_merges()
{
	local name pid

	trap end_docker EXIT
	guide_has '{ "cgroup-parent"' > /etc/docker/daemon.json
	printf 'DOCKER_OPTS="--bridge=none --iptables=false --ip-forward=false"\n' > /etc/default/docker
	systemctl start docker.service ||
		why "Docker does not start: $(journalctl -o cat -u docker | grep -i fail | tail -n 1)"
	tar -C / -c bin lib lib64 | docker import - host-image > /dev/null
	guide_runs 'systemctl enable --now ksm-merge@containers' || why "containers.slice cannot be merged"
	systemctl stop containers.slice
	docker_container first
	docker_container second
	for name in first second; do
		pid=$(docker inspect --format '{{.State.Pid}}' $name)
		show < "/proc/$pid/cgroup"
		within 60 merged_pages "$pid" 8000 || why "the $name container of Docker does not merge"
	done
	show < $CGROUPS/containers.slice/memory.ksm.stat
}
