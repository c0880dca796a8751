// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - add up what KSM saves by cgroup
 *
 * A cgroup has the processes of all cgroups below it. /proc/PID/cgroup tells where
 * a process is. The files memory.ksm.* belong to the memory controller of cgroup v2.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ksmtop.h"

#define MOUNT	"/sys/fs/cgroup"

/* What memory.ksm.stat tells. Only a domain has the line pages_shared. */
struct stat_figures {
	long long shared, sharing, zero;	/* pages */
	long long metadata, profit;		/* bytes */
};

static struct cgroup *get_cgroup(struct cgroup_table *table, const char *path)
{
	struct cgroup *cgroup;
	size_t i;

	for (i = 0; i < table->count; i++)
		if (!strcmp(table->row[i].path, path))
			return &table->row[i];
	if (table->count == table->capacity) {
		table->capacity = table->capacity * 2 + 16;
		table->row = grow(table->row, table->capacity * sizeof(*table->row));
	}
	cgroup = &table->row[table->count++];
	*cgroup = (struct cgroup) {
		.domain = UNKNOWN, .saved = UNKNOWN, .cost = UNKNOWN, .profit = UNKNOWN,
	};
	snprintf(cgroup->path, sizeof(cgroup->path), "%s", path);
	return cgroup;
}

/* A process that cannot be read adds nothing. */
static void add_known(long long *sum, long long value)
{
	if (value != UNKNOWN)
		*sum = *sum == UNKNOWN ? value : *sum + value;
}

static void add_process(struct cgroup *cgroup, const struct process *process)
{
	cgroup->processes++;
	cgroup->rss_by_state[process->state] += process->rss;
	add_known(&cgroup->saved, process->saved);
	add_known(&cgroup->cost, process->cost);
	add_known(&cgroup->profit, process->profit);
	if (process->domain == UNKNOWN)
		return;
	if (cgroup->domain == UNKNOWN)
		cgroup->domain = process->domain;
	cgroup->several_domains = cgroup->several_domains || cgroup->domain != process->domain;
}

/* Adds a process to its cgroup and to all above. */
static void add_upwards(struct cgroup_table *table, const struct process *process)
{
	char path[sizeof(process->cgroup)];
	struct cgroup *cgroup;
	char *slash;

	snprintf(path, sizeof(path), "%s", process->cgroup);
	if (path[0] != '/')
		return;
	cgroup = get_cgroup(table, path);
	cgroup->own_processes++;
	add_process(cgroup, process);
	while (strcmp(path, "/")) {
		slash = strrchr(path, '/');
		slash[slash == path ? 1 : 0] = '\0';
		add_process(get_cgroup(table, path), process);
	}
}

static bool read_file_set(const char *root, const char *path, const char *name)
{
	char text[16];

	return read_text(open_file(root, MOUNT "%s/%s", path, name), text, sizeof(text)) &&
	       atoi(text) == 1;
}

static void take_figure(struct stat_figures *figures, const char *line)
{
	char name[64];
	long long value;

	if (sscanf(line, "%63s %lld", name, &value) != 2)
		return;
	if (!strcmp(name, "pages_shared"))
		figures->shared = value;
	else if (!strcmp(name, "pages_sharing"))
		figures->sharing = value;
	else if (!strcmp(name, "ksm_zero_pages"))
		figures->zero = value;
	else if (!strcmp(name, "metadata_bytes"))
		figures->metadata = value;
	else if (!strcmp(name, "profit_bytes"))
		figures->profit = value;
}

/*
 * The file counts all mappings of shared pages if the cgroup is no domain. Then the
 * sums over the processes are what is saved.
 */
static void read_stat_file(struct cgroup *cgroup, const struct machine *machine, const char *root)
{
	struct stat_figures figures = {
		.shared = UNKNOWN, .metadata = UNKNOWN, .profit = UNKNOWN,
	};
	char line[256], path[PATH_MAX];
	struct stat directory;
	FILE *file;

	file = open_file(root, MOUNT "%s/memory.ksm.stat", cgroup->path);
	if (!file)
		return;
	while (fgets(line, sizeof(line), file))
		take_figure(&figures, line);
	fclose(file);
	if (figures.shared == UNKNOWN)
		return;
	cgroup->saved = (figures.sharing + figures.zero) * machine->page_size;
	cgroup->cost = figures.metadata;
	cgroup->profit = figures.profit;
	snprintf(path, sizeof(path), "%s" MOUNT "%s", root, cgroup->path);
	if (!stat(path, &directory)) {
		cgroup->domain = directory.st_ino;
		cgroup->several_domains = false;
	}
}

/* The root has no such files. A cgroup outside of the namespace has no path here. */
static void read_ksm_files(struct cgroup *cgroup, const struct machine *machine, const char *root)
{
	char path[PATH_MAX];

	if (!strcmp(cgroup->path, "/") || !strncmp(cgroup->path, "/..", 3))
		return;
	snprintf(path, sizeof(path), "%s" MOUNT "%s/memory.ksm.stat", root, cgroup->path);
	cgroup->has_stat = !access(path, F_OK);
	cgroup->group = read_file_set(root, cgroup->path, "memory.ksm.group");
	cgroup->merge = read_file_set(root, cgroup->path, "memory.ksm.merge");
	read_stat_file(cgroup, machine, root);
}

static bool is_below(const char *path, const char *above)
{
	size_t len = strlen(above);

	return !strncmp(path, above, len) && (path[len] == '/' || !path[len]);
}

static bool is_merged_by_file(const struct cgroup_table *table, const struct cgroup *cgroup)
{
	size_t i;

	for (i = 0; i < table->count; i++)
		if (table->row[i].merge && is_below(cgroup->path, table->row[i].path))
			return true;
	return false;
}

/* The state of most of the memory. */
static enum state main_state(const struct cgroup *cgroup)
{
	enum state state, most = STATE_NOTHING;

	for (state = 0; state < NR_STATES; state++)
		if (cgroup->rss_by_state[state] > cgroup->rss_by_state[most])
			most = state;
	return most;
}

/**
 * read_cgroups() - add up the processes of a sample by cgroup
 * @sample: the sample, judged; its cgroups are set, unless they are
 * @root: directory that holds sys
 *
 * Exits if there is no memory.
 */
void read_cgroups(struct sample *sample, const char *root)
{
	struct cgroup_table *table = &sample->cgroups;
	struct cgroup *cgroup;
	size_t i;

	if (table->read)
		return;
	table->read = true;
	for (i = 0; i < sample->table.count; i++)
		add_upwards(table, &sample->table.row[i]);
	for (i = 0; i < table->count; i++) {
		read_ksm_files(&table->row[i], &sample->machine, root);
		table->counted = table->counted || table->row[i].has_stat;
	}
	for (i = 0; i < table->count; i++) {
		cgroup = &table->row[i];
		cgroup->merged_by_file = is_merged_by_file(table, cgroup);
		cgroup->state = main_state(cgroup);
	}
}

/**
 * cgroup_problem() - why there are no figures by cgroup
 * @sample: the sample, with its cgroups
 *
 * Return: text without a newline, or NULL if there are figures
 */
const char *cgroup_problem(const struct sample *sample)
{
	if (sample->cgroups.counted)
		return NULL;
	if (sample->machine.ksm[KSM_MERGE_ACROSS_CGROUPS] == UNKNOWN)
		return "this kernel does not count KSM by cgroup (it has no memory.ksm.stat)";
	return "no process is in a cgroup with memory.ksm.stat; mount cgroup v2 on " MOUNT
	       " and enable its memory controller";
}

/**
 * cgroup_note() - why a cgroup has no merged pages, or how they were marked
 * @cgroup: the cgroup
 * @machine: the machine of the same sample
 *
 * Return: text of at most 27 characters
 */
const char *cgroup_note(const struct cgroup *cgroup, const struct machine *machine)
{
	if (cgroup->state == STATE_UNIQUE && machine->ksm[KSM_MERGE_ACROSS_CGROUPS] == 0)
		return "no duplicates in its domain";
	if (cgroup->state != STATE_MERGING)
		return state_note(cgroup->state);
	if (machine->ksm[KSM_RUN] == 0)
		return "merged, KSM is stopped now";
	return cgroup->merged_by_file ? "merging, by the cgroup" : "merging";
}

/**
 * cgroup_is_shown() - whether the table has a row for a cgroup
 * @cgroup: the cgroup
 * @options: whether cgroups that save nothing are shown
 *
 * Return: true if it has a row
 */
bool cgroup_is_shown(const struct cgroup *cgroup, const struct options *options)
{
	if (options->merging_only && cgroup->saved <= 0)
		return false;
	return cgroup->own_processes || cgroup->group || cgroup->merge;
}

static long long value_of(const struct cgroup *cgroup, enum sort_key key)
{
	switch (key) {
	case BY_COST:
		return cgroup->cost;
	case BY_PROFIT:
		return cgroup->profit;
	case BY_PID:
	case BY_COMMAND:
		return 0;
	default:
		return cgroup->saved;
	}
}

/* Largest first, and cgroups with the same value by path. */
static int compare_cgroups(const void *left, const void *right, void *data)
{
	const struct options *options = data;
	const struct cgroup *a = left, *b = right;
	long long first = value_of(a, options->sort), second = value_of(b, options->sort);
	int result = (second > first) - (second < first);

	if (!result)
		result = strcmp(a->path, b->path);
	return options->reverse ? -result : result;
}

/**
 * sort_cgroups() - sort the cgroups
 * @table: the cgroups
 * @options: by which key, and in which direction
 */
void sort_cgroups(struct cgroup_table *table, const struct options *options)
{
	if (table->count)
		qsort_r(table->row, table->count, sizeof(*table->row), compare_cgroups,
			(void *)options);
}
