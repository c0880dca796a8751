# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A /proc and a /sys of plain files, which programs can read instead of those
# of the machine. The script that sources this sets tree, their directory.

tree=

# put FILE TEXT...: a line for each TEXT.
put()
{
	mkdir -p "$tree/${1%/*}"
	printf '%s\n' "${@:2}" > "$tree/$1"
}

# knob NAME VALUE ...: sets controls and figures.
knob()
{
	while [ $# -gt 1 ]; do
		put "sys/kernel/mm/ksm/$1" "$2"
		shift 2
	done
}

# The files of 6.12, with 30,000 pages saved and 10 s of CPU time of ksmd.
fake_machine()
{
	rm -rf "$tree"
	knob run 1 pages_to_scan 100 sleep_millisecs 20 merge_across_nodes 1 \
		merge_across_cgroups 1 \
		use_zero_pages 0 max_page_sharing 256 min_ptes_merged 1 smart_scan 1 \
		stable_node_chains_prune_millisecs 2000 \
		advisor_mode '[none] scan-time pressure' advisor_max_cpu 70 \
		advisor_min_pages_to_scan 500 advisor_max_pages_to_scan 30000 \
		advisor_target_scan_time 200 \
		advisor_start_available 20 advisor_full_available 5 \
		full_scans 12 pages_scanned 500000 pages_skipped 1000 \
		pages_shared 10000 pages_sharing 30000 pages_unshared 500 \
		pages_volatile 20 ksm_zero_pages 1280 stable_node_chains 0 \
		stable_node_dups 0 general_profit 125829120
	put proc/uptime '100.00 50.00'
	put proc/35/stat '35 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 0 1000 0 0 25 5 1 0 50 0 0'
	put proc/35/statm '0 0 0 0 0 0 0'
}

# process PID COMMAND RSS-PAGES [STARTED [PARENT]]
process()
{
	put "proc/$1/stat" "$1 ($2) S ${5:-1} 1 1 0 -1 4194560 0 0 0 0 7 3 0 0 20 0 1 0 ${4:-$1} 0 0"
	put "proc/$1/statm" "99999 $3 10 10 0 10 0"
	put "proc/$1/cmdline" "$2"
}

# ksm_stat PID KNOWN ZERO MERGED PROFIT [MERGE-ANY MERGEABLE]
ksm_stat()
{
	put "proc/$1/ksm_stat" "ksm_rmap_items $2" "ksm_zero_pages $3" \
		"ksm_merging_pages $4" "ksm_process_profit $5"
	[ $# = 5 ] || printf 'ksm_merge_any: %s\nksm_mergeable: %s\n' "$6" "$7" \
		>> "$tree/proc/$1/ksm_stat"
	[ -e "$tree/proc/$1/smaps" ] || : > "$tree/proc/$1/smaps"
}

# area PID MODE RSS-KIB HUGE-KIB HUGETLB-KIB FLAGS [SWAP-KIB [ANONYMOUS-KIB
# [SHARED-KIB [MERGED-KIB]]]]: adds a VMA to smaps.
area()
{
	cat >> "$tree/proc/$1/smaps" << END
7f0000000000-7f0010000000 $2 00000000 00:00 0
Size:             262144 kB
Rss:              $3 kB
Anonymous:        ${8:-$3} kB
KSM:                   ${10:-0} kB
AnonHugePages:    $4 kB
Shared_Clean:          0 kB
Shared_Dirty:          ${9:-0} kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:  $5 kB
Swap:             ${7:-0} kB
VmFlags: $6
END
}

# pins PID LOCKED-KIB PINNED-KIB
pins()
{
	put "proc/$1/status" "VmLck:	$2 kB" "VmPin:	$3 kB"
}

# opens PID FILE...: the process has opened the files.
opens()
{
	local fd=3 file

	mkdir -p "$tree/proc/$1/fd"
	for file in "${@:2}"; do
		ln -s "$file" "$tree/proc/$1/fd/$fd"
		fd=$((fd + 1))
	done
}

# skips LINE...: what ksmd found in the processes.
skips()
{
	put sys/kernel/debug/ksm/processes \
		'pid comm shared sharing unshared volatile zero domain reason' "$@"
}
