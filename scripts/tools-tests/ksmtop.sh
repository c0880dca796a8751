# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Shared by the tests of ksmtop. Source it after lib.sh.

# shellcheck source=scripts/ktap.sh
. "$TOP/scripts/ktap.sh"
# shellcheck source=scripts/tools-tests/fake.sh
. "$TOP/scripts/tools-tests/fake.sh"

program=$BUILD/tools/ksmtop
work=$(mktemp -d)
tree=$work/tree
trap 'rm -rf "$work"' EXIT

# One process for each state that does not depend on the machine.
fake_processes()
{
	process 101 qemu-system-x86 60000
	printf 'qemu-system-x86_64\0-name\0guest=web1,debug-threads=on\0-m\0002048\0' \
		> "$tree/proc/101/cmdline"
	ksm_stat 101 25000 1280 24000 103000000 no yes
	process 102 'a) weird "name"' 20000
	ksm_stat 102 18000 0 16000 65000000 yes yes
	process 103 plain 5000
	ksm_stat 103 0 0 0 0 no no
	area 103 rw-p 20000 0 0 'rd wr mr mw me ac'
	process 104 vhost-user 5000
	ksm_stat 104 0 0 0 0 no no
	area 104 rw-s 20000 0 0 'rd wr sh mr mw me ac'
	process 105 hugetlb 100
	ksm_stat 105 0 0 0 0 no no
	area 105 rw-p 0 0 65536 'rd wr mr mw me ac ht'
	process 106 marked 5000
	ksm_stat 106 0 0 0 0 no yes
	area 106 rw-p 20000 0 0 'rd wr mr mw me ac mg'
	process 107 thp 5000
	ksm_stat 107 5000 0 0 -80000 no yes
	area 107 rw-p 20000 18432 0 'rd wr mr mw me ac hg mg'
	process 108 unique 5000
	ksm_stat 108 5000 0 0 -80000 no yes
	area 108 rw-p 20000 0 0 'rd wr mr mw me ac mg'
	process 109 hidden 5000
	process 9 kthread 0
}

fresh()
{
	fake_machine
	fake_processes
}

run()
{
	"$program" --root "$tree" "$@" < /dev/null
}

# rows OPTION...: the rows of the table, with single spaces between columns.
rows()
{
	run --batch "$@" | awk 'on { $1 = $1; print } $1 == "PID" { on = 1 }'
}

# row PID: the row of a process.
row()
{
	rows | awk -v pid="$1" '$1 == pid'
}

# pids OPTION...: the PIDs in the table, from the top.
pids()
{
	rows "$@" | awk '{ printf "%s%s", (NR > 1 ? " " : ""), $1 }'
}

# same WANT GOT
same()
{
	[ "$1" = "$2" ] || { printf 'got "%s" instead of "%s"\n' "$2" "$1" >&2; return 1; }
}

# has TEXT WANT...: every WANT is in TEXT.
has()
{
	local text=$1 want

	shift
	for want in "$@"; do
		[[ $text == *"$want"* ]] || {
			printf '"%s" is missing in "%s"\n' "$want" "$text" >&2
			return 1
		}
	done
}

# refuses STATUS TEXT COMMAND...: one line on stderr with TEXT.
refuses()
{
	local want=$1 text=$2 said status=0

	shift 2
	said=$("$@" 2>&1 > "$work/out" < /dev/null) || status=$?
	[ $status = "$want" ] || { printf 'the status is %s\n' $status >&2; return 1; }
	[ ! -s "$work/out" ] || { printf 'something is on stdout\n' >&2; return 1; }
	[ "$(grep -v -c '^Try ' <<< "$said")" = 1 ] || { printf 'not one line: %s\n' "$said" >&2; return 1; }
	has "$said" "$text"
}

# json EXPRESSION: evaluates a Python expression, with the object as d and its
# processes by PID as p.
json()
{
	run --json | python3 -c '
import json, sys
d = json.load(sys.stdin)
p = {q["pid"]: q for q in d["processes"]}
print(eval(sys.argv[1]))' "$1"
}

# case_of NAME FUNCTION: each case starts with a new fake machine.
case_of()
{
	fresh
	judge "ksmtop: $1" "$0" one "$2"
}

# one FUNCTION: what case_of runs.
one()
{
	fresh
	"$1"
	exit
}
