# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Shared by the benchmarks: a picture of the memory that both kernels saved.
# Source it after lib.sh.

# Without gnuplot there is only the table.
can_plot()
{
	command -v gnuplot > /dev/null && return 0
	say "no pictures, since gnuplot is missing; install it with: apt-get install gnuplot-nox"
	return 1
}

# draw DIR NAME TITLE LABEL [COMMAND]: makes DIR/NAME.svg and .png from the columns
# of DIR/NAME.stock-bench.dat and DIR/NAME.bench.dat: a value of LABEL, and MiB saved.
draw()
{
	local format

	for format in svg png; do
		gnuplot <<- EOF
			set terminal $format size 800,500
			set output "$1/$2.$format"
			set title "$3"
			set xlabel "$4"
			set ylabel "saved, MiB"
			set key left top
			${5:-}
			plot "$1/$2.stock-bench.dat" with lines lw 2 title "base $(base_version)", \\
			     "$1/$2.bench.dat" with lines lw 2 title "ours"
		EOF
	done
	say "   ${1#"$TOP"/}/$2.svg and .png"
}
