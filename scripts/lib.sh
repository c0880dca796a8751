# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034	# the variables are for scripts that source this
#
# Shared by the scripts: paths, messages, errors. Source it right after
# `set -euo pipefail`.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$TOP/build
BASE=$BUILD/base
LINUX=$BUILD/linux
MUTANT=$BUILD/mutant
LOGS=$BUILD/log
TARBALL=/usr/src/linux-source-6.12.tar.xz
JOBS=${JOBS:-$(nproc)}

export LC_ALL=C
mkdir -p "$LOGS"

say()
{
	printf '%s\n' "$*"
}

step()
{
	printf '== %s\n' "$*"
}

die()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

if [ ! -w "$BUILD" ] || [ ! -w "$LOGS" ]; then
	die "build/ in $TOP is not writable; check its owner"
fi

# The header comment of a script is its help text.
usage()
{
	sed -n '3,/^[^#]/s/^# \{0,1\}//p' "$0"
	exit 0
}

# bad_usage MESSAGE: reports wrong arguments and ends the script.
bad_usage()
{
	printf '%s: %s; for help: %s --help\n' "${0##*/}" "$*" "${0#"$TOP"/}" >&2
	exit 2
}

# bad_option ARGUMENT: ends the script, which does not take this argument.
bad_option()
{
	local kind=argument

	[[ $1 != -* ]] || kind=option
	bad_usage "unknown $kind \"$1\""
}

# need_value OPTION [VALUE ...]: ends the script if no value follows the option.
need_value()
{
	[ $# -gt 1 ] || bad_usage "the option $1 needs a value"
}

# need_number OPTION [VALUE ...]: likewise, if no number above 0 does.
need_number()
{
	need_value "$@"
	[[ $2 =~ ^[1-9][0-9]*$ ]] || bad_usage "the option $1 needs a number above 0, not \"$2\""
}

# not_built KERNEL: the message for a kernel that is not in build/out.
not_built()
{
	local how="scripts/build $1"

	[[ $1 != stock-* ]] || how="scripts/build --stock ${1#stock-}"
	printf 'the kernel %s is not built; build it with: %s' "$1" "$how"
}

# kvm_modules KERNEL: those of KVM, if it is not built in, as files of scripts/initramfs.
kvm_modules()
{
	local file

	for file in "$BUILD/out/$1"/virt/lib/irqbypass.ko "$BUILD/out/$1"/arch/x86/kvm/kvm*.ko; do
		[ ! -e "$file" ] || printf '/modules/%s=%s\n' "${file##*/}" "$file"
	done
}

base_version()
{
	awk '$1 == "VERSION" { v = $3 } $1 == "PATCHLEVEL" { p = $3 }
	     $1 == "SUBLEVEL" { print v "." p "." $3; exit }' "$BASE/Makefile"
}

# need_space MIB PURPOSE: fail now rather than when the disk is full.
need_space()
{
	local free

	free=$(df -Pm "$BUILD" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$1" ] ||
		die "only $free MiB are free on the disk that holds build/, and $2 needs $1 MiB; free some (make clean removes build/) and try again"
}

disk_is_full()
{
	[ "$(df -Pm "$BUILD" | awk 'NR == 2 { print $4 }')" -lt 16 ]
}

# failed WHAT LOG [ERROR]: ends the script. Names the disk if it is full.
failed()
{
	if disk_is_full; then
		die "$1 failed because the disk that holds build/ is full; free some space and try again (log: ${2#"$TOP"/})"
	fi
	die "$1 failed; the log is ${2#"$TOP"/}${3:+, its first error: $3}"
}

first_error()
{
	grep -m1 -E '(error: |fatal error|Error [0-9]+|undefined reference|No rule to make|\*\*\*)' "$1" |
		cut -c1-300 || true
}

# with_lock NAME CMD...: only one run at a time works on a tree.
with_lock()
{
	local lock_name=$1 lock_fd

	shift
	exec {lock_fd}> "$BUILD/.lock-$lock_name"
	if ! flock -w 10 "$lock_fd"; then
		say "   another run uses $lock_name: waiting for it" >&2
		flock "$lock_fd"
	fi
	"$@" {lock_fd}>&-
	exec {lock_fd}>&-
}
