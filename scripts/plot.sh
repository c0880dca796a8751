# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the benches share: a picture of what both kernels saved. Source it behind
# lib.sh.

# Without gnuplot there is no picture, and the table tells all the same.
can_plot()
{
	command -v gnuplot > /dev/null && return 0
	say "no pictures, as gnuplot is missing; install it with: apt-get install gnuplot-nox"
	return 1
}

# draw DIR NAME TITLE LABEL [COMMAND]: DIR/NAME.svg and .png, from two columns each
# in DIR/NAME.stock-run.dat and DIR/NAME.run.dat: how much of LABEL, and MiB saved.
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
			plot "$1/$2.stock-run.dat" with lines lw 2 title "base $(base_version)", \\
			     "$1/$2.run.dat" with lines lw 2 title "ours"
		EOF
	done
	say "   ${1#"$TOP"/}/$2.svg and .png"
}
