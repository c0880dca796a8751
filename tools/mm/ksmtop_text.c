// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - lines of text: the header and the table, for the terminal and --batch
 */
#define _GNU_SOURCE
#include <langinfo.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ksmtop.h"

#define MIB		(1024.0 * 1024.0)
#define BAR_WIDTH	8	/* columns */

/**
 * locale_is_utf8() - whether the locale can show block characters
 *
 * Return: true if its character set is UTF-8
 */
bool locale_is_utf8(void)
{
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

/**
 * add() - append text to a line
 * @line: the line
 * @format: as for printf()
 */
void add(struct line *line, const char *format, ...)
{
	size_t space = sizeof(line->text) - line->len;
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line->text + line->len, space, format, args);
	va_end(args);
	if (len > 0)
		line->len += (size_t)len < space ? (size_t)len : space - 1;
}

/**
 * add_mib() - append a size in MiB
 * @line: the line
 * @width: columns, at least, and a space before them
 * @bytes: the size, or UNKNOWN
 *
 * A loss that rounds to zero is shown without a sign.
 */
void add_mib(struct line *line, int width, long long bytes)
{
	if (bytes == UNKNOWN)
		add(line, " %*s", width, "-");
	else
		add(line, " %*.1f", width, round(bytes / MIB * 10) / 10 + 0.0);
}

static void add_number(struct line *line, const char *name, long long value)
{
	if (value == UNKNOWN)
		add(line, " %s -", name);
	else
		add(line, " %s %lld", name, value);
}

static void add_rate(struct line *line, double value, const char *unit)
{
	if (value < 0)
		add(line, " -%s", unit);
	else
		add(line, " %.*f%s", value < 100 ? 1 : 0, value, unit);
}

static const char *run_text(long long run)
{
	switch (run) {
	case 0:
		return "stopped";
	case 1:
		return "merging";
	case 2:
		return "stopped, all unmerged";
	default:
		return "in an unknown state";
	}
}

static void state_line(struct line *line, const struct machine *machine)
{
	char clock[16];

	strftime(clock, sizeof(clock), "%H:%M:%S", localtime(&machine->clock));
	add(line, "%s  KSM is %s;", clock, run_text(machine->ksm[KSM_RUN]));
	add_number(line, "passes", machine->ksm[KSM_FULL_SCANS]);
	add_number(line, " scan", machine->ksm[KSM_PAGES_TO_SCAN]);
	add_number(line, " sleep", machine->ksm[KSM_SLEEP_MILLISECS]);
	add(line, " ms  advisor %s", machine->advisor[0] ? machine->advisor : "-");
}

static void saved_line(struct line *line, const struct machine *machine)
{
	add(line, "saved");
	add_mib(line, 0, machine_saved(machine));
	add(line, " MiB, cost");
	add_mib(line, 0, machine_cost(machine));
	add(line, " MiB, profit");
	add_mib(line, 0, machine->ksm[KSM_GENERAL_PROFIT]);
	add(line, " MiB;");
	add_number(line, "zero pages", machine->ksm[KSM_ZERO_PAGES]);
}

static void pages_line(struct line *line, const struct machine *machine)
{
	add(line, "pages");
	add_number(line, "shared", machine->ksm[KSM_PAGES_SHARED]);
	add_number(line, " sharing", machine->ksm[KSM_PAGES_SHARING]);
	add_number(line, " unshared", machine->ksm[KSM_PAGES_UNSHARED]);
	add_number(line, " volatile", machine->ksm[KSM_PAGES_VOLATILE]);
}

/* In a container ksmd runs, but has no directory in /proc. */
static void ksmd_line(struct line *line, const struct monitor *monitor)
{
	const struct machine *machine = &monitor->now.machine;

	if (machine->ksmd_ticks == UNKNOWN) {
		add(line, "ksmd is not visible here");
	} else {
		add(line, "ksmd");
		add_rate(line, ksmd_percent(monitor), " % of a CPU");
		add(line, ", %.1f s so far",
		    (double)machine->ksmd_ticks / machine->ticks_per_second);
	}
	add(line, "; scans");
	add_rate(line, ksm_file_rate(monitor, KSM_PAGES_SCANNED), " pages/s,");
	add(line, " skips");
	add_rate(line, ksm_file_rate(monitor, KSM_PAGES_SKIPPED), "");
}

static void count_line(struct line *line, const struct process_table *table)
{
	size_t i, merging = 0, hidden = 0;

	for (i = 0; i < table->count; i++) {
		merging += has_merged(&table->row[i]);
		hidden += table->row[i].state == STATE_HIDDEN;
	}
	add(line, "%zu processes, %zu with merged pages", table->count, merging);
	if (hidden)
		add(line, ", %zu not readable: run ksmtop as root to see them", hidden);
}

static long long history_peak(const struct history *history)
{
	long long peak = 0;
	size_t i;

	for (i = 0; i < history->count; i++)
		if (history->saved[i] > peak)
			peak = history->saved[i];
	return peak;
}

/* One column per sample, as high as its part of the peak. */
static void history_line(struct line *line, const struct history *history, int width, bool utf8)
{
	static const char *const blocks[] = {
		" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"
	};
	static const char plain[][2] = { " ", ".", ":", "-", "=", "+", "*", "#", "@" };
	long long peak = history_peak(history);
	size_t i, from = 0, columns, level;

	add(line, "saved, 0 to %.1f MiB |", peak / MIB);
	columns = width > (int)line->len + 1 ? width - line->len - 1 : 0;
	if (history->count > columns)
		from = history->count - columns;
	for (i = from; i < history->count; i++) {
		level = peak ? (history->saved[i] * 8 + peak - 1) / peak : 0;
		add(line, "%s", utf8 ? blocks[level] : plain[level]);
	}
	if (columns)
		add(line, "|");
}

/**
 * header() - the lines above the table
 * @lines: HEADER_LINES lines, are overwritten
 * @monitor: the samples to show
 * @width: columns that the line of history may take
 * @utf8: whether the output takes block characters
 */
void header(struct line *lines, const struct monitor *monitor, int width, bool utf8)
{
	const struct machine *machine = &monitor->now.machine;

	memset(lines, 0, HEADER_LINES * sizeof(*lines));
	state_line(&lines[0], machine);
	saved_line(&lines[1], machine);
	pages_line(&lines[2], machine);
	ksmd_line(&lines[3], monitor);
	history_line(&lines[4], &monitor->history, width, utf8);
	count_line(&lines[5], &monitor->now.table);
}

/* A value that is not zero fills at least one eighth of a column. */
static void add_bar(struct line *line, long long value, const struct layout *layout)
{
	static const char *const eighth_blocks[] = {
		" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"
	};
	long long eighths = 0;
	int i, part;

	if (value > 0 && layout->most_saved > 0)
		eighths = (value * BAR_WIDTH * 8 + layout->most_saved - 1) / layout->most_saved;
	add(line, " ");
	for (i = 0; i < BAR_WIDTH; i++) {
		part = eighths > 8 ? 8 : eighths;
		eighths -= part;
		if (layout->utf8)
			add(line, "%s", eighth_blocks[part]);
		else
			add(line, "%c", part ? '#' : ' ');
	}
}

/* The titles that both tables end with. */
static void add_savings_titles(struct line *line, const struct layout *layout, int width)
{
	add(line, " %*s", width, "SAVED");
	if (layout->bar)
		add(line, " %*s", BAR_WIDTH, "");
	add(line, " %7s %*s  %s", "COST", width, "PROFIT", "WHY");
}

/* The figures below these titles. */
static void add_savings(struct line *line, const struct layout *layout, int width,
			long long saved, long long cost, long long profit)
{
	add_mib(line, width, saved);
	if (layout->bar)
		add_bar(line, saved, layout);
	add_mib(line, 7, cost);
	add_mib(line, width, profit);
}

/**
 * title_row() - the titles of the columns
 * @line: the titles are appended to it
 * @layout: the columns of the table
 */
void title_row(struct line *line, const struct layout *layout)
{
	add(line, "%7s %-15s", "PID", "COMMAND");
	if (layout->wide)
		add(line, " %9s %9s", "RSS", "MERGED");
	add_savings_titles(line, layout, 9);
}

/**
 * process_row() - the row of a process
 * @line: the row is appended to it
 * @process: the process
 * @machine: the machine of the same sample
 * @layout: the columns of the table
 */
void process_row(struct line *line, const struct process *process,
		 const struct machine *machine, const struct layout *layout)
{
	add(line, "%7d %-15.15s", process->pid, process->command);
	if (layout->wide) {
		add_mib(line, 9, process->rss * machine->page_size);
		add_mib(line, 9, merged_bytes(process, machine));
	}
	add_savings(line, layout, 9, process->saved, process->cost, process->profit);
	add(line, "  %s", process_note(process, machine));
}

/**
 * add_path() - append a path
 * @line: the line
 * @path: its end is shown if it is too long
 * @width: columns, at least 2
 */
void add_path(struct line *line, const char *path, int width)
{
	int len = strlen(path);

	if (len > width)
		add(line, "..%s", path + len - width + 2);
	else
		add(line, "%-*s", width, path);
}

static void add_domain(struct line *line, const struct cgroup *cgroup)
{
	if (cgroup->several_domains)
		add(line, " %8s", "several");
	else if (cgroup->domain == UNKNOWN)
		add(line, " %8s", "-");
	else
		add(line, " %8lld", cgroup->domain);
}

/**
 * other_columns() - the columns of the table of cgroups beside the path
 * @layout: the columns of the table
 *
 * Return: how many, up to the longest reason
 */
int other_columns(const struct layout *layout)
{
	return 64 + (layout->wide ? 6 : 0) + (layout->bar ? BAR_WIDTH + 1 : 0);
}

/**
 * cgroup_title_row() - the titles of the columns of the table of cgroups
 * @line: the titles are appended to it
 * @layout: the columns of the table
 */
void cgroup_title_row(struct line *line, const struct layout *layout)
{
	add(line, "%-*s %8s", layout->path_width, "CGROUP", "DOMAIN");
	if (layout->wide)
		add(line, " %5s", "PROCS");
	add_savings_titles(line, layout, 8);
}

/**
 * cgroup_row() - the row of a cgroup
 * @line: the row is appended to it
 * @cgroup: the cgroup
 * @machine: the machine of the same sample
 * @layout: the columns of the table
 */
void cgroup_row(struct line *line, const struct cgroup *cgroup,
		const struct machine *machine, const struct layout *layout)
{
	add_path(line, cgroup->path, layout->path_width);
	add_domain(line, cgroup);
	if (layout->wide)
		add(line, " %5zu", cgroup->processes);
	add_savings(line, layout, 8, cgroup->saved, cgroup->cost, cgroup->profit);
	add(line, "  %s", cgroup_note(cgroup, machine));
}

static void print_processes(const struct sample *sample, const struct options *options)
{
	const struct process_table *table = &sample->table;
	const struct layout layout = { .wide = true };
	struct line line = { .len = 0 };
	size_t i;

	title_row(&line, &layout);
	printf("\n%s\n", line.text);
	for (i = 0; i < table->count; i++) {
		if (!is_shown(&table->row[i], options))
			continue;
		memset(&line, 0, sizeof(line));
		process_row(&line, &table->row[i], &sample->machine, &layout);
		puts(line.text);
	}
}

/* The column of paths is as wide as the longest. */
static void print_cgroups(const struct sample *sample, const struct options *options)
{
	const struct cgroup_table *table = &sample->cgroups;
	struct layout layout = { .wide = true, .path_width = 6 };
	struct line line = { .len = 0 };
	size_t i;
	int len;

	for (i = 0; i < table->count; i++) {
		len = strlen(table->row[i].path);
		if (cgroup_is_shown(&table->row[i], options) && len > layout.path_width)
			layout.path_width = len;
	}
	cgroup_title_row(&line, &layout);
	printf("\n%s\n", line.text);
	for (i = 0; i < table->count; i++) {
		if (!cgroup_is_shown(&table->row[i], options))
			continue;
		memset(&line, 0, sizeof(line));
		cgroup_row(&line, &table->row[i], &sample->machine, &layout);
		puts(line.text);
	}
}

/**
 * print_batch() - print a sample as plain text
 * @monitor: the sample
 * @options: which processes to show, or cgroups instead
 */
void print_batch(const struct monitor *monitor, const struct options *options)
{
	struct line lines[HEADER_LINES];
	size_t i;

	header(lines, monitor, 80, locale_is_utf8());
	for (i = 0; i < HEADER_LINES; i++)
		puts(lines[i].text);
	if (options->by_cgroup)
		print_cgroups(&monitor->now, options);
	else
		print_processes(&monitor->now, options);
}
