# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Completion in bash for ksmtop, ksmrun and ksm-apply. The options are those that
# the program prints with --help.

# Options that the line before the cursor has already are left out.
_ksm_options()
{
	local option

	while read -r option; do
		[[ " ${COMP_WORDS[*]:1:COMP_CWORD-1} " == *" $option "* ]] || printf '%s\n' "$option"
	done < <("$1" --help 2> /dev/null | grep -o -E '(^|[ ,[])--[a-z][a-z-]*' | tr -d ' ,[')
}

_ksm_pids()
{
	local path

	for path in /proc/[0-9]*; do
		printf '%s\n' "${path#/proc/}"
	done
}

# Directories below /sys/fs/cgroup, with or without it.
_ksm_cgroups()
{
	local prefix=/sys/fs/cgroup/ path

	[[ $1 != /* ]] || prefix=
	while read -r path; do
		printf '%s/\n' "${path#/sys/fs/cgroup/}"
	done < <([ -n "$prefix" ] && compgen -d -- "$prefix$1")
	[ -n "$prefix" ] || compgen -d -S / -- "$1"
}

# The words that may follow those before the cursor.
_ksm_words()
{
	local before=${COMP_WORDS[COMP_CWORD - 1]} two_before=

	[ "$COMP_CWORD" -lt 2 ] || two_before=${COMP_WORDS[COMP_CWORD - 2]}
	case ${1##*/}:$before in
	ksmtop:-s | ksmtop:--sort) printf '%s\n' saved merged cost profit rss pid command ;;
	ksmtop:-p | ksmtop:--pid | ksmrun:-n) _ksm_pids ;;
	ksmrun:--now) printf '%s\n' -- && _ksm_pids ;;
	ksmrun:-g | ksmrun:--cgroup) _ksm_cgroups "$2" ;;
	ksmtop:--root | ksm-apply:--root) compgen -d -- "$2" ;;
	ksmtop:--record | ksmtop:--replay | ksmtop:--plot | ksm-apply:-c | ksm-apply:--config)
		compgen -f -- "$2" ;;
	ksmtop:-d | ksmtop:--interval | ksmtop:-n | ksmtop:--count) ;;
	*)
		case ${1##*/}:$two_before in
		ksmrun:-g | ksmrun:--cgroup) printf 'on\noff\n' ;;
		*) _ksm_options "$1" ;;
		esac ;;
	esac
}

_ksm_complete()
{
	local i

	# What follows -- is a command with words of its own.
	for ((i = 1; i < COMP_CWORD; i++)); do
		if [ "${1##*/}:${COMP_WORDS[i]}" = ksmrun:-- ]; then
			mapfile -t COMPREPLY < <(compgen -c -f -- "$2")
			return
		fi
	done
	mapfile -t COMPREPLY < <(compgen -W "$(_ksm_words "$1" "$2")" -- "$2")
	[[ ${COMPREPLY[0]-} != */ ]] || compopt -o nospace 2> /dev/null || true
}

complete -F _ksm_complete ksmtop ksmrun ksm-apply
