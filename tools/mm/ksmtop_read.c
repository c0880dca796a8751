// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - read a sample of the machine from /proc and /sys
 *
 * A file that the kernel does not have leaves its values UNKNOWN.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksmtop.h"

#define KTHREAD		0x200000ULL	/* PF_KTHREAD, in /proc/PID/stat */
#define CAUSES_MAX_AGE	10.0		/* seconds */

static const char *const ksm_file_names[NR_KSM_FILES] = {
	"run", "pages_to_scan", "sleep_millisecs", "smart_scan", "use_zero_pages",
	"merge_across_cgroups", "full_scans", "pages_scanned", "pages_skipped", "pages_shared",
	"pages_sharing", "pages_unshared", "pages_volatile", "ksm_zero_pages",
	"general_profit",
};

/* What the functions that read a process have in common. */
struct reader {
	const struct options *options;
	const struct process_table *old;	/* the previous sample */
	struct sample *sample;			/* what is read */
};

/* The fields of /proc/PID/stat that are used. */
struct stat_line {
	char name[64];
	pid_t parent;
	unsigned long long flags, ticks, started;
};

/**
 * ksm_file_name() - the name of a file of /sys/kernel/mm/ksm
 * @file: the file
 *
 * Return: the name without a directory
 */
const char *ksm_file_name(enum ksm_file file)
{
	return ksm_file_names[file];
}

static long long read_ksm_file(const char *root, const char *name)
{
	char text[64], *end;
	long long value;

	if (!read_text(open_file(root, "/sys/kernel/mm/ksm/%s", name), text, sizeof(text)))
		return UNKNOWN;
	value = strtoll(text, &end, 10);
	return end == text ? UNKNOWN : value;
}

/* The word in brackets is the current mode. */
static void read_advisor(const char *root, char *mode, size_t size)
{
	char text[256], *from, *to;

	mode[0] = '\0';
	if (!read_text(open_file(root, "/sys/kernel/mm/ksm/advisor_mode"), text, sizeof(text)))
		return;
	from = strchr(text, '[');
	to = from ? strchr(from, ']') : NULL;
	if (to)
		snprintf(mode, size, "%.*s", (int)(to - from - 1), from + 1);
}

static double read_uptime(const char *root)
{
	char text[64];

	return read_text(open_file(root, "/proc/uptime"), text, sizeof(text)) ? atof(text) : 0;
}

static void read_machine(struct machine *machine, const char *root)
{
	int i;

	*machine = (struct machine) { .ksmd_pid = UNKNOWN, .ksmd_ticks = UNKNOWN };
	machine->page_size = sysconf(_SC_PAGESIZE);
	machine->ticks_per_second = sysconf(_SC_CLK_TCK);
	machine->uptime = read_uptime(root);
	machine->clock = time(NULL);
	for (i = 0; i < NR_KSM_FILES; i++)
		machine->ksm[i] = read_ksm_file(root, ksm_file_names[i]);
	read_advisor(root, machine->advisor, sizeof(machine->advisor));
}

/* The name may contain a closing bracket, so the last bracket ends it. */
static bool read_stat(const char *root, const char *pid, struct stat_line *line)
{
	unsigned long long user, kernel;
	char text[1024], *from, *to;

	if (!read_text(open_file(root, "/proc/%s/stat", pid), text, sizeof(text)))
		return false;
	from = strchr(text, '(');
	to = strrchr(text, ')');
	if (!from || !to || to < from)
		return false;
	if (sscanf(to + 1,
		   " %*c %d %*d %*d %*d %*d %llu %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %llu",
		   &line->parent, &line->flags, &user, &kernel, &line->started) != 5)
		return false;
	snprintf(line->name, sizeof(line->name), "%.*s", (int)(to - from - 1), from + 1);
	line->ticks = user + kernel;
	return true;
}

/* All QEMU processes have the same command: show the name of the guest. */
static void name_guest(const char *root, const char *pid, char *command, size_t size)
{
	char text[4096], program[8], *arg, *name = NULL;
	size_t len;

	snprintf(program, sizeof(program), "%.4s", command);
	if (strncmp(command, "qemu", 4) && strncmp(command, "kvm", 3))
		return;
	len = read_text(open_file(root, "/proc/%s/cmdline", pid), text, sizeof(text));
	for (arg = text; arg < text + len; arg += strlen(arg) + 1)
		if (!strcmp(arg, "-name") && arg + 6 < text + len)
			name = arg + 6;
	if (!name)
		return;
	if (!strncmp(name, "guest=", 6))
		name += 6;
	snprintf(command, size, "%s %.*s", program, (int)strcspn(name, ","), name);
}

/* A line of ksm_stat is "name value" or "name: value". */
static void take_ksm_line(struct process *process, const char *line)
{
	char name[64], value[64];

	if (sscanf(line, "%63[^: ]%*[: ]%63s", name, value) != 2)
		return;
	if (!strcmp(name, "ksm_rmap_items"))
		process->known = atoll(value);
	else if (!strcmp(name, "ksm_zero_pages"))
		process->zero = atoll(value);
	else if (!strcmp(name, "ksm_merging_pages"))
		process->merged = atoll(value);
	else if (!strcmp(name, "ksm_pages_sharing"))
		process->sharing = atoll(value);
	else if (!strcmp(name, "ksm_process_profit"))
		process->kernel_profit = atoll(value);
	else if (!strcmp(name, "ksm_domain"))
		process->domain = atoll(value);
	else if (!strcmp(name, "ksm_merge_any"))
		process->by_prctl = !strcmp(value, "yes");
	else if (!strcmp(name, "ksm_mergeable"))
		process->marked = !strcmp(value, "yes");
}

/* Kernels before 6.1 have only the number of merged pages. */
static void read_ksm_stat(const char *root, const char *pid, struct process *process)
{
	char text[64], line[256];
	FILE *file;

	process->known = UNKNOWN;
	process->merged = UNKNOWN;
	process->zero = UNKNOWN;
	process->sharing = UNKNOWN;
	process->kernel_profit = UNKNOWN;
	process->domain = UNKNOWN;
	process->marked = -1;
	process->by_prctl = -1;
	file = open_file(root, "/proc/%s/ksm_stat", pid);
	if (file) {
		while (fgets(line, sizeof(line), file))
			take_ksm_line(process, line);
		fclose(file);
	}
	if (process->merged == UNKNOWN &&
	    read_text(open_file(root, "/proc/%s/ksm_merging_pages", pid), text, sizeof(text)))
		process->merged = atoll(text);
	process->readable = process->merged != UNKNOWN;
}

static const struct process *find(const struct process_table *table,
				  const struct process *process)
{
	size_t i;

	for (i = 0; i < table->count; i++)
		if (table->row[i].pid == process->pid &&
		    table->row[i].started == process->started)
			return &table->row[i];
	return NULL;
}

/*
 * What may keep pages from being merged is expensive to read. It is read only if
 * few pages of the process are merged, and then used for CAUSES_MAX_AGE.
 */
static void update_causes(const struct reader *reader, const struct stat_line *line,
			  struct process *process)
{
	const struct process *last = find(reader->old, process);
	double uptime = reader->sample->machine.uptime;

	if (!process->readable || !has_few_merged(process))
		return;
	if (last && last->causes.read_at > 0 &&
	    last->causes.read_at + CAUSES_MAX_AGE > uptime) {
		process->causes = last->causes;
	} else {
		read_causes(&process->causes, reader->options->root, process->pid, line->parent);
		process->causes.read_at = uptime;
	}
}

/* The line of cgroup v2 begins with "0::". A path that is too long is left out. */
static void read_cgroup(const char *root, const char *pid, char *path, size_t size)
{
	char text[2 * PATH_MAX], *rest = text, *line;

	path[0] = '\0';
	if (!read_text(open_file(root, "/proc/%s/cgroup", pid), text, sizeof(text)))
		return;
	while ((line = strsep(&rest, "\n")))
		if (!strncmp(line, "0::", 3) && strlen(line + 3) < size)
			snprintf(path, size, "%s", line + 3);
	make_printable(path);
}

/* Returns false if the process has no memory of its own, or has exited. */
static bool read_process(const struct reader *reader, const char *pid,
			 const struct stat_line *line, struct process *process)
{
	const char *root = reader->options->root;
	char text[256];

	*process = (struct process) { .pid = atoi(pid), .started = line->started };
	snprintf(process->command, sizeof(process->command), "%.31s", line->name);
	if (!read_text(open_file(root, "/proc/%s/statm", pid), text, sizeof(text)) ||
	    sscanf(text, "%*u %lld", &process->rss) != 1 || !process->rss)
		return false;
	name_guest(root, pid, process->command, sizeof(process->command));
	make_printable(process->command);
	read_ksm_stat(root, pid, process);
	read_cgroup(root, pid, process->cgroup, sizeof(process->cgroup));
	update_causes(reader, line, process);
	return true;
}

static void take_kthread(struct machine *machine, const char *pid, const struct stat_line *line)
{
	if (strcmp(line->name, "ksmd"))
		return;
	machine->ksmd_pid = atoi(pid);
	machine->ksmd_ticks = line->ticks;
}

/**
 * is_wanted() - whether a process is to be shown
 * @options: which processes
 * @pid: the process
 *
 * Return: true if it is
 */
bool is_wanted(const struct options *options, pid_t pid)
{
	size_t i;

	for (i = 0; i < options->nr_pids; i++)
		if (options->pids[i] == pid)
			return true;
	return !options->nr_pids;
}

/**
 * unused_row() - the row after the last one of a table
 * @table: the table; the caller counts the row once it is filled in
 *
 * Exits if there is no memory.
 *
 * Return: the row
 */
struct process *unused_row(struct process_table *table)
{
	if (table->count == table->capacity) {
		table->capacity = table->capacity * 2 + 64;
		table->row = grow(table->row, table->capacity * sizeof(*table->row));
	}
	return &table->row[table->count];
}

static void take_process(const struct reader *reader, const char *pid)
{
	struct process_table *table = &reader->sample->table;
	struct stat_line line;

	if (!read_stat(reader->options->root, pid, &line))
		return;
	if (line.flags & KTHREAD) {
		take_kthread(&reader->sample->machine, pid, &line);
		return;
	}
	if (!is_wanted(reader->options, atoi(pid)))
		return;
	if (read_process(reader, pid, &line, unused_row(table)))
		table->count++;
}

static void read_processes(const struct reader *reader)
{
	struct dirent *entry;
	char path[PATH_MAX];
	DIR *dir;

	snprintf(path, sizeof(path), "%s/proc", reader->options->root);
	dir = opendir(path);
	if (!dir)
		die(EXIT_FAILURE, "cannot read %s: %s; mount proc there", path, strerror(errno));
	while ((entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]))
			take_process(reader, entry->d_name);
	closedir(dir);
}

/**
 * read_sample() - read the machine and its processes
 * @sample: is overwritten; the caller frees the rows of its table
 * @options: which processes, and below which directory
 * @old: the table of the previous sample, which saves reading smaps again
 *
 * The savings and the state of a process are for the caller to fill in. Exits
 * if /proc cannot be read or there is no memory.
 */
void read_sample(struct sample *sample, const struct options *options,
		 const struct process_table *old)
{
	struct reader reader = { .options = options, .old = old, .sample = sample };

	sample->table = (struct process_table) { 0 };
	sample->cgroups = (struct cgroup_table) { 0 };
	read_machine(&sample->machine, options->root);
	read_processes(&reader);
	read_skips(sample, options->root);
}
