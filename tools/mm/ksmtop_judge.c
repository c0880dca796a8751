// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - work out savings, costs and reasons from what was read
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ksmtop.h"

#define MIN_PASSES	3	/* passes until the counters of a state are exact */

/* A word for JSON, and a note that leaves space for the table in 80 columns. */
static const struct {
	const char *word, *note;
} states[NR_STATES] = {
	[STATE_MERGING] = { "merging", "merging" },
	[STATE_HIDDEN] = { "hidden", "not readable: try as root" },
	[STATE_HUGETLB] = { "hugetlb", "hugetlb pages, cannot merge" },
	[STATE_SHARED] = { "shared", "mapped shared, cannot merge" },
	[STATE_UNMARKED] = { "unmarked", "not marked (madvise, prctl)" },
	[STATE_STOPPED] = { "stopped", "KSM is stopped (run is 0)" },
	[STATE_UNMERGED] = { "unmerged", "KSM is stopped (run is 2)" },
	[STATE_ADVISOR_IDLE] = { "asleep", "advisor scans no pages" },
	[STATE_NO_PAGES] = { "no-pages", "pages_to_scan is 0" },
	[STATE_NEW] = { "new", "marked, not scanned yet" },
	[STATE_FEW_PASSES] = { "young", "fewer than 3 passes so far" },
	[STATE_HUGE] = { "huge", "huge pages, no duplicates" },
	[STATE_UNIQUE] = { "unique", "no duplicates" },
	[STATE_NOTHING] = { "nothing", "nothing merged" },
};

static const char *const sort_key_names[NR_KEYS] = {
	"saved", "merged", "cost", "profit", "rss", "pid", "command",
};

/**
 * state_word() - the name of a state for programs
 * @state: the state
 *
 * Return: a word that does not change between versions
 */
const char *state_word(enum state state)
{
	return states[state].word;
}

/**
 * process_note() - why a process has no merged pages, or how it was marked
 * @process: the process, judged
 * @machine: the machine of the same sample
 *
 * Return: text of at most 27 characters
 */
const char *process_note(const struct process *process, const struct machine *machine)
{
	if (process->state != STATE_MERGING)
		return states[process->state].note;
	if (machine->ksm[KSM_RUN] == 0)
		return "merged, KSM is stopped now";
	if (process->by_prctl == 1)
		return "merging, by prctl";
	return process->by_prctl == 0 ? "merging, by madvise" : states[STATE_MERGING].note;
}

static long long zero_pages(const struct process *process)
{
	return process->zero == UNKNOWN ? 0 : process->zero;
}

/**
 * merged_bytes() - the memory of a process that is merged
 * @process: the process
 * @machine: the machine of the same sample
 *
 * Return: bytes that map KSM pages or the zero page, or UNKNOWN
 */
long long merged_bytes(const struct process *process, const struct machine *machine)
{
	if (!process->readable)
		return UNKNOWN;
	return (process->merged + zero_pages(process)) * machine->page_size;
}

/**
 * machine_saved() - memory saved on the machine
 * @machine: the machine
 *
 * Return: bytes, or UNKNOWN
 */
long long machine_saved(const struct machine *machine)
{
	long long zero = machine->ksm[KSM_ZERO_PAGES];

	if (machine->ksm[KSM_PAGES_SHARING] == UNKNOWN)
		return UNKNOWN;
	if (zero == UNKNOWN)
		zero = 0;
	return (machine->ksm[KSM_PAGES_SHARING] + zero) * machine->page_size;
}

/**
 * machine_cost() - memory that KSM uses for its metadata
 * @machine: the machine
 *
 * Return: bytes, or UNKNOWN
 */
long long machine_cost(const struct machine *machine)
{
	if (machine->ksm[KSM_GENERAL_PROFIT] == UNKNOWN || machine_saved(machine) == UNKNOWN)
		return UNKNOWN;
	return machine_saved(machine) - machine->ksm[KSM_GENERAL_PROFIT];
}

/*
 * The kernel keeps one page for all mappings of a content. Each mapping is
 * charged an equal part of the pages that are kept.
 */
static void account(struct process *process, const struct machine *machine)
{
	long long shared = machine->ksm[KSM_PAGES_SHARED];
	long long sharing = machine->ksm[KSM_PAGES_SHARING];
	double part = 0;

	process->saved = UNKNOWN;
	process->cost = UNKNOWN;
	process->profit = UNKNOWN;
	if (!process->readable)
		return;
	if (shared != UNKNOWN && sharing != UNKNOWN) {
		if (shared + sharing > 0)
			part = (double)sharing / (shared + sharing);
		process->saved = llround((process->merged * part + zero_pages(process)) *
					 machine->page_size);
	}
	if (process->kernel_profit != UNKNOWN)
		process->cost = merged_bytes(process, machine) - process->kernel_profit;
	if (process->saved != UNKNOWN && process->cost != UNKNOWN)
		process->profit = process->saved - process->cost;
}

/* What keeps ksmd from scanning any process. */
static enum state machine_state(const struct machine *machine)
{
	if (machine->ksm[KSM_RUN] == 0)
		return STATE_STOPPED;
	if (machine->ksm[KSM_RUN] == 2)
		return STATE_UNMERGED;
	if (machine->ksm[KSM_PAGES_TO_SCAN] == 0)
		return !machine->advisor[0] || !strcmp(machine->advisor, "none") ?
		       STATE_NO_PAGES : STATE_ADVISOR_IDLE;
	return STATE_NOTHING;
}

/* Why the pages of a process that ksmd can scan are not merged. */
static enum state scan_state(const struct process *process, const struct machine *machine)
{
	const struct smaps_totals *smaps = &process->smaps;

	if (process->known == 0)
		return STATE_NEW;
	if (process->known == UNKNOWN)
		return STATE_NOTHING;
	if (machine->ksm[KSM_FULL_SCANS] != UNKNOWN &&
	    machine->ksm[KSM_FULL_SCANS] < MIN_PASSES)
		return STATE_FEW_PASSES;
	return smaps->huge_kib * 2 > smaps->mergeable_kib ? STATE_HUGE : STATE_UNIQUE;
}

/* Reasons that do not depend on ksmd come first. */
static enum state judge(const struct process *process, const struct machine *machine)
{
	const struct smaps_totals *smaps = &process->smaps;
	long long private_kib = smaps->mergeable_kib + smaps->other_kib;
	bool marked = process->marked == 1 || smaps->mergeable;

	if (!process->readable)
		return STATE_HIDDEN;
	if (process->merged > 0 || process->zero > 0)
		return STATE_MERGING;
	if (smaps->hugetlb_kib > private_kib && smaps->hugetlb_kib >= smaps->shared_kib)
		return STATE_HUGETLB;
	if (smaps->shared_kib > private_kib)
		return STATE_SHARED;
	if (!marked && (process->marked == 0 || smaps->readable))
		return STATE_UNMARKED;
	if (machine_state(machine) != STATE_NOTHING)
		return machine_state(machine);
	return scan_state(process, machine);
}

static void remember(struct history *history, long long saved)
{
	if (history->count == HISTORY_LENGTH) {
		memmove(history->saved, history->saved + 1,
			(HISTORY_LENGTH - 1) * sizeof(*history->saved));
		history->count--;
	}
	history->saved[history->count++] = saved == UNKNOWN ? 0 : saved;
}

/**
 * take_sample() - read the machine and judge every process
 * @monitor: its sample becomes the previous one
 * @options: which processes, and below which directory
 *
 * Exits if /proc cannot be read or there is no memory.
 */
void take_sample(struct monitor *monitor, const struct options *options)
{
	struct process_table old = monitor->now.table;
	const struct machine *machine = &monitor->now.machine;
	struct process *process;
	size_t i;

	monitor->have_before = machine->uptime > 0;
	monitor->before = *machine;
	read_sample(&monitor->now, options, &old);
	free(old.row);
	for (i = 0; i < monitor->now.table.count; i++) {
		process = &monitor->now.table.row[i];
		account(process, machine);
		process->state = judge(process, machine);
	}
	remember(&monitor->history, machine_saved(machine));
}

/* How fast a counter rises per second, negative if unknown. */
static double rate(const struct monitor *monitor, long long before, long long now)
{
	double seconds = monitor->now.machine.uptime - monitor->before.uptime;

	if (!monitor->have_before || before == UNKNOWN || now == UNKNOWN || seconds <= 0 ||
	    now < before)
		return -1;
	return (now - before) / seconds;
}

/**
 * ksm_file_rate() - how fast a counter of /sys/kernel/mm/ksm rises
 * @monitor: two samples
 * @file: the counter
 *
 * Return: counts per second, negative if unknown
 */
double ksm_file_rate(const struct monitor *monitor, enum ksm_file file)
{
	return rate(monitor, monitor->before.ksm[file], monitor->now.machine.ksm[file]);
}

/**
 * ksmd_percent() - CPU time of ksmd between two samples
 * @monitor: two samples
 *
 * Return: percent of one CPU, negative if unknown
 */
double ksmd_percent(const struct monitor *monitor)
{
	const struct machine *now = &monitor->now.machine, *before = &monitor->before;
	double ticks = -1;

	if (before->ksmd_pid == now->ksmd_pid)
		ticks = rate(monitor, before->ksmd_ticks, now->ksmd_ticks);
	return ticks < 0 ? -1 : 100 * ticks / now->ticks_per_second;
}

/**
 * sort_key_name() - the name of a sort key
 * @key: the key
 *
 * Return: the name, as --sort takes it
 */
const char *sort_key_name(enum sort_key key)
{
	return sort_key_names[key];
}

static int order(long long a, long long b)
{
	return (a > b) - (a < b);
}

/* Largest first, except for PIDs and names. UNKNOWN is smallest. */
static int compare_by(enum sort_key key, const struct process *a, const struct process *b)
{
	switch (key) {
	case BY_MERGED:
		return order(b->merged, a->merged);
	case BY_COST:
		return order(b->cost, a->cost);
	case BY_PROFIT:
		return order(b->profit, a->profit);
	case BY_RSS:
		return order(b->rss, a->rss);
	case BY_COMMAND:
		return strcmp(a->command, b->command);
	case BY_PID:
		return order(a->pid, b->pid);
	default:
		return order(b->saved, a->saved);
	}
}

static int compare_rows(const void *left, const void *right, void *data)
{
	const struct options *options = data;
	const struct process *a = left, *b = right;
	int result = compare_by(options->sort, a, b);

	if (!result)
		result = order(b->rss, a->rss);
	if (!result)
		result = order(a->pid, b->pid);
	return options->reverse ? -result : result;
}

/**
 * sort_table() - sort the processes
 * @table: the processes
 * @options: by which key, and in which direction
 */
void sort_table(struct process_table *table, const struct options *options)
{
	if (table->count)
		qsort_r(table->row, table->count, sizeof(*table->row), compare_rows,
			(void *)options);
}

/**
 * is_shown() - whether the table has a row for a process
 * @process: the process, judged
 * @options: whether processes without merged pages are shown
 *
 * Return: true if it has a row
 */
bool is_shown(const struct process *process, const struct options *options)
{
	return !options->merging_only || process->state == STATE_MERGING;
}
