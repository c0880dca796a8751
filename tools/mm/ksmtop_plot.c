// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - draw a record with gnuplot
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksmtop.h"

#define MIB	(1024.0 * 1024.0)

static const char script[] =
	"set terminal svg size 900,500 dynamic\n"
	"set xlabel 'seconds'\n"
	"set ylabel 'MiB'\n"
	"set y2label 'percent of a CPU'\n"
	"set ytics nomirror\n"
	"set y2tics\n"
	"set y2range [0:*]\n"
	"set key outside top center horizontal\n"
	"set datafile missing '-'\n"
	"plot $samples using 1:2 with lines lw 2 title 'saved', \\\n"
	"$samples using 1:3 with lines lw 2 title 'cost', \\\n"
	"$samples using 1:4 axes x1y2 with lines lw 2 title 'ksmd, percent of a CPU'\n";

static void put_mib(FILE *file, long long bytes)
{
	if (bytes == UNKNOWN)
		fputs(" -", file);
	else
		fprintf(file, " %.3f", bytes / MIB);
}

static void put_point(FILE *file, const struct monitor *monitor, double began)
{
	const struct machine *machine = &monitor->now.machine;
	double percent = ksmd_percent(monitor);

	fprintf(file, "%.2f", machine->uptime - began);
	put_mib(file, machine_saved(machine));
	put_mib(file, machine_cost(machine));
	if (percent < 0)
		fputs(" -\n", file);
	else
		fprintf(file, " %.2f\n", percent);
}

static bool is_installed(const char *program)
{
	char path[PATH_MAX], *folders, *rest, *folder;
	const char *variable = getenv("PATH");
	bool found = false;

	folders = strdup(variable ? variable : "/usr/bin:/bin");
	for (rest = folders; rest && !found && (folder = strsep(&rest, ":"));) {
		snprintf(path, sizeof(path), "%s/%s", folder, program);
		found = !access(path, X_OK);
	}
	free(folders);
	return found;
}

/* gnuplot writes to the file that is its output. */
static FILE *start_gnuplot(const char *path)
{
	FILE *file;

	if (!is_installed("gnuplot"))
		die(EXIT_FAILURE,
		    "--plot needs gnuplot; install it with: apt-get install gnuplot-nox");
	setenv("KSMTOP_PLOT", path, 1);
	file = popen("exec gnuplot > \"$KSMTOP_PLOT\"", "we");
	if (!file)
		die(EXIT_FAILURE, "cannot start gnuplot: %s", strerror(errno));
	return file;
}

/**
 * plot() - draw memory saved, cost and CPU time of ksmd over time
 * @monitor: the first sample of the record; has the last one afterwards
 * @options: the record and the picture
 *
 * Exits if the picture cannot be made. Then there is no new file.
 */
void plot(struct monitor *monitor, const struct options *options)
{
	char path[PATH_MAX];
	double began = monitor->now.machine.uptime;
	FILE *file;
	int status;

	if (snprintf(path, sizeof(path), "%s.new", options->plot) >= (int)sizeof(path))
		die(EXIT_FAILURE,
		    "the path of the picture has more than %d characters; choose a shorter one",
		    PATH_MAX - (int)sizeof(".new"));
	file = start_gnuplot(path);
	fputs("$samples << END\n", file);
	do {
		put_point(file, monitor, began);
	} while (next_sample(monitor, options));
	fprintf(file, "END\n%s", script);
	status = pclose(file);
	if (status || rename(path, options->plot)) {
		unlink(path);
		die(EXIT_FAILURE, "cannot draw %s: %s", options->plot,
		    status ? "gnuplot failed; its messages are above" : strerror(errno));
	}
}
