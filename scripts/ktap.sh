# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Test results as KTAP lines. Each step of check prints flat KTAP lines on
# stdout, and messages for the user on stderr.

result_count=0

# ok NAME, not_ok NAME REASON, skipped NAME REASON
ok()
{
	result_count=$((result_count + 1))
	printf 'ok %d - %s\n' $result_count "$1"
}

not_ok()
{
	result_count=$((result_count + 1))
	printf 'not ok %d - %s%s\n' $result_count "$1" "${2:+: $2}"
}

skipped()
{
	result_count=$((result_count + 1))
	printf 'ok %d - %s # SKIP %s\n' $result_count "$1" "$2"
}

# judge NAME CMD...: ok if the command succeeds; otherwise not ok, with the
# last line that it wrote to stderr.
judge()
{
	local name=$1 why status=0

	shift
	why=$("$@" 2>&1 > /dev/null) || status=$?
	if [ $status = 0 ]; then
		ok "$name"
	else
		not_ok "$name" "$(tail -n1 <<< "$why")"
	fi
}

# flatten PREFIX < KTAP: the results of the innermost cases, with full names.
# A failed suite is a result of its own only if none of its cases failed.
flatten()
{
	tr -d '\r' | awk -v prefix="$1" '
		match($0, /^ *(not )?ok [0-9]+/) {
			bad = ($0 ~ /^ *not ok/)
			match($0, /^ */)
			level = RLENGTH
			name = $0
			sub(/^ *(not )?ok [0-9]+ *(- *)?/, "", name)

			inner = ""
			for (deep = level + 1; deep <= 32; deep++) {
				inner = inner lines[deep]
				delete lines[deep]
			}
			verdict = bad ? "not ok " : "ok "
			if (inner == "") {
				lines[level] = lines[level] verdict "\t" name "\n"
			} else {
				gsub(/\t/, "\t" name ": ", inner)
				lines[level] = lines[level] inner
				if (bad && inner !~ /not ok/)
					lines[level] = lines[level] verdict "\t" name "\n"
			}
		}
		END {
			for (level = 0; level <= 32; level++) {
				gsub(/\t/, prefix, lines[level])
				printf "%s", lines[level]
			}
		}'
}

# take < flat results: numbers and prints them.
take()
{
	local line

	while IFS= read -r line; do
		result_count=$((result_count + 1))
		case $line in
		not\ ok*) printf 'not ok %d - %s\n' $result_count "${line#not ok }" ;;
		*) printf 'ok %d - %s\n' $result_count "${line#ok }" ;;
		esac
	done
}
