// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - the VMAs of a process, for the terminal
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ksmtop.h"

#define ADDRESS_COLUMNS	72	/* a terminal that has space for addresses */
#define LEAST_NAME	8	/* columns */

static void add_vma(const struct vma *vma, void *data)
{
	struct vma_table *table = data;

	if (table->count == table->capacity) {
		table->capacity = table->capacity * 2 + 64;
		table->row = grow(table->row, table->capacity * sizeof(*table->row));
	}
	table->row[table->count++] = *vma;
}

/* A process without memory exits, or has exited and waits for its parent. */
static const char *problem_of(int err, const struct options *options, pid_t pid)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/proc/%d", options->root, pid);
	if (err == ESRCH || access(path, F_OK))
		return "the process has ended";
	switch (err) {
	case 0:
		return NULL;
	case EACCES:
	case EPERM:
		return "no permission to read its VMAs: run ksmtop as root";
	case ENODATA:
		return "the process has no memory: it is about to end";
	case ENOENT:
		return "this kernel does not list VMAs (CONFIG_PROC_PAGE_MONITOR)";
	default:
		return strerror(err);
	}
}

static const struct process *find(const struct vma_table *table, const struct sample *sample)
{
	const struct process_table *processes = &sample->table;
	size_t i;

	for (i = 0; i < processes->count; i++)
		if (processes->row[i].pid == table->pid &&
		    processes->row[i].started == table->started)
			return &processes->row[i];
	return NULL;
}

static void read_table(struct vma_table *table, const struct options *options)
{
	int err;

	table->count = 0;
	err = read_vmas(options->root, table->pid, add_vma, table);
	table->problem = problem_of(err, options, table->pid);
	if (table->problem)
		table->count = 0;
}

/**
 * open_vmas() - begin to show the VMAs of a process
 * @table: its VMAs are read
 * @process: the process
 * @options: where to read
 *
 * Exits if there is no memory.
 */
void open_vmas(struct vma_table *table, const struct process *process,
	       const struct options *options)
{
	table->open = true;
	table->pid = process->pid;
	table->started = process->started;
	table->top = 0;
	table->count = 0;
	if (options->replay)
		table->problem = "a record has no VMAs";
	else
		read_table(table, options);
}

/**
 * refresh_vmas() - read the VMAs again
 * @table: the VMAs; nothing is read unless they are shown
 * @sample: the current sample
 * @options: where to read
 *
 * Exits if there is no memory.
 */
void refresh_vmas(struct vma_table *table, const struct sample *sample,
		  const struct options *options)
{
	if (!table->open || options->replay)
		return;
	if (find(table, sample)) {
		read_table(table, options);
		return;
	}
	table->count = 0;
	table->problem = "the process has ended";
}

static bool has_addresses(int width)
{
	return width >= ADDRESS_COLUMNS;
}

static void vma_title(struct line *line, int width)
{
	if (has_addresses(width))
		add(line, "%12s ", "ADDRESS");
	add(line, "%9s %6s %8s %8s %8s  %s  (q: back)", "SIZE", "MARKED", "HUGE", "SHARED",
	    "MERGED", "NAME");
}

static void count_line(struct line *line, const struct vma_table *table)
{
	long long marked_bytes = 0;
	size_t i, marked = 0;

	if (table->problem) {
		add(line, "%s", table->problem);
		return;
	}
	for (i = 0; i < table->count; i++) {
		if (!table->row[i].marked)
			continue;
		marked++;
		marked_bytes += table->row[i].end - table->row[i].start;
	}
	add(line, "%zu VMAs, %zu marked:", table->count, marked);
	add_mib(line, 0, marked_bytes);
	add(line, " MiB");
}

/**
 * vma_header() - the lines above the VMAs
 * @lines: VMA_HEADER_LINES lines, are overwritten; the last one has the titles
 * @table: the VMAs
 * @sample: the current sample
 * @layout: the columns of the table of processes
 * @width: columns of the terminal
 */
void vma_header(struct line *lines, const struct vma_table *table,
		const struct sample *sample, const struct layout *layout, int width)
{
	const struct process *process = find(table, sample);

	memset(lines, 0, VMA_HEADER_LINES * sizeof(*lines));
	if (process)
		process_row(&lines[0], process, &sample->machine, layout);
	else
		add(&lines[0], "%7d", table->pid);
	count_line(&lines[1], table);
	vma_title(&lines[2], width);
}

/**
 * vma_row() - the row of a VMA
 * @line: the row is appended to it
 * @vma: the VMA
 * @width: columns of the terminal
 */
void vma_row(struct line *line, const struct vma *vma, int width)
{
	int left;

	if (has_addresses(width))
		add(line, "%12llx ", vma->start);
	add(line, "%9.1f %6s", (vma->end - vma->start) / (1024.0 * 1024.0),
	    vma->marked ? "yes" : "-");
	add_mib(line, 8, (vma->huge_kib + vma->hugetlb_kib) * 1024);
	add_mib(line, 8, vma->shared_kib * 1024);
	add_mib(line, 8, vma->merged_kib * 1024);
	add(line, "  ");
	left = width - (int)line->len;
	add_path(line, vma->name[0] ? vma->name : "anonymous",
		 left < LEAST_NAME ? LEAST_NAME : left);
}
