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
#define FEW_SKIPPED	64	/* one page in so many has no say in the reason */

/*
 * A word for JSON, a note that leaves space for the table in 80 columns, and what to
 * do about it.
 */
static const struct {
	const char *word, *note, *hint;
} states[NR_STATES] = {
	[STATE_MERGING] = { "merging", "merging", "" },
	[STATE_HIDDEN] = { "hidden", "not readable: try as root",
		"The process belongs to another user. Run ksmtop as root." },
	[STATE_HUGETLB] = { "hugetlb", "hugetlb pages, cannot merge",
		"KSM does not merge hugetlbfs pages. Give the guest memory without hugepages." },
	[STATE_SHARED] = { "shared", "mapped shared, cannot merge",
		"memfd, virtiofs or vhost-user: KSM merges only private memory (share=off)." },
	[STATE_UNMARKED] = { "unmarked", "not marked (madvise, prctl)",
		"Mark the memory with madvise(MADV_MERGEABLE), or start the program by ksmrun." },
	[STATE_EARLY] = { "early", "started before the prctl",
		"Its parent set the prctl after the fork. Restart the process." },
	[STATE_EMPTY] = { "empty", "marked, but empty",
		"No anonymous page is in the marked memory. File pages are not merged." },
	[STATE_SWAPPED] = { "swapped", "marked memory is in swap",
		"KSM merges pages when they are read in. Give the process more memory." },
	[STATE_DEVICE] = { "device", "pinned by a device (VFIO)",
		"A device that is passed through pins all of the guest's memory." },
	[STATE_PINNED] = { "pinned", "pinned, cannot merge",
		"Buffers of io_uring or RDMA pin the pages. KSM merges only unpinned pages." },
	[STATE_STOPPED] = { "stopped", "KSM is stopped (run is 0)",
		"Write 1 to /sys/kernel/mm/ksm/run, or set run = 1 in /etc/ksm.conf." },
	[STATE_UNMERGED] = { "unmerged", "KSM is stopped (run is 2)",
		"Write 1 to /sys/kernel/mm/ksm/run, or set run = 1 in /etc/ksm.conf." },
	[STATE_ADVISOR_IDLE] = { "asleep", "advisor scans no pages",
		"Check advisor_max_cpu and advisor_max_pages_to_scan." },
	[STATE_NO_PAGES] = { "no-pages", "pages_to_scan is 0",
		"Raise pages_to_scan, or set advisor_mode." },
	[STATE_NEW] = { "new", "marked, not scanned yet",
		"ksmd has not come to the process yet." },
	[STATE_FEW_PASSES] = { "young", "fewer than 3 passes so far",
		"A merge needs two passes over all memory, exact counters three." },
	[STATE_CHANGING] = { "changing", "changes faster than passes",
		"Most pages are rewritten between two passes. Faster passes may find some." },
	[STATE_EQUAL_PINNED] = { "equal-pinned", "equal pages, but pinned",
		"io_uring, RDMA, O_DIRECT or a device holds pages that have duplicates." },
	[STATE_BUSY] = { "busy", "equal pages, but in use",
		"Pages were locked when ksmd came. It tries again in the next pass." },
	[STATE_ELSEWHERE] = { "elsewhere", "already shared by fork",
		"Its duplicates are the same pages, mapped by a parent or a child." },
	[STATE_HUGE_KEPT] = { "huge-kept", "huge pages are kept whole",
		"Few pages of each huge page have duplicates, so none is split." },
	[STATE_NO_MEMORY] = { "no-memory", "no memory for merging",
		"The kernel had no memory for records or shared pages." },
	[STATE_POISONED] = { "poisoned", "pages with memory errors",
		"The hardware has reported errors in pages of the process." },
	[STATE_TAGGED] = { "tagged", "pages have memory tags",
		"KSM does not merge pages with memory tags (arm64 MTE)." },
	[STATE_MOVING] = { "moving", "moves to another domain",
		"It gets copies of what it shares in its former domain before it merges." },
	[STATE_HUGE] = { "huge", "huge pages, no duplicates",
		"Most of the memory is in huge pages, and ksmd found no duplicate." },
	[STATE_UNIQUE] = { "unique", "no duplicates",
		"ksmd scanned the pages and found no duplicate." },
	[STATE_NOTHING] = { "nothing", "nothing merged", "" },
};

/* The reasons of the kernel for not merging a page that has a duplicate or may. */
static const struct {
	const char *reason;
	enum state state;
} skip_states[] = {
	{ "pinned", STATE_EQUAL_PINNED },
	{ "locked", STATE_BUSY },
	{ "mapped_elsewhere", STATE_ELSEWHERE },
	{ "huge_page_kept", STATE_HUGE_KEPT },
	{ "no_memory", STATE_NO_MEMORY },
	{ "poisoned", STATE_POISONED },
	{ "tagged", STATE_TAGGED },
	{ "other_domain", STATE_MOVING },
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
 * state_note() - a state in words
 * @state: the state
 *
 * Return: text of at most 27 characters
 */
const char *state_note(enum state state)
{
	return states[state].note;
}

/**
 * state_hint() - what a state means, or what to do about it
 * @state: the state
 *
 * Return: a sentence or two, of at most 79 characters; empty if there is nothing to do
 */
const char *state_hint(enum state state)
{
	return states[state].hint;
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
 * The kernel keeps one page for all mappings of a content. If the kernel does not tell
 * in which process it counts this page, each mapping is charged an equal part of it.
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
	if (process->sharing != UNKNOWN) {
		process->saved = (process->sharing + zero_pages(process)) * machine->page_size;
	} else if (shared != UNKNOWN && sharing != UNKNOWN) {
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

/*
 * Most pages change between two passes. Without the figures of debugfs this is certain
 * only if the machine has fewer unchanged pages than the process has pages.
 */
static bool is_changing(const struct process *process, const struct machine *machine)
{
	const struct skips *skips = &process->causes.skips;
	long long unshared = machine->ksm[KSM_PAGES_UNSHARED];

	if (skips->known)
		return !strcmp(skips->reason, "changed") &&
		       skips->changing > skips->shared + skips->unshared;
	return process->known != UNKNOWN && unshared != UNKNOWN &&
	       process->known - process->merged > 2 * unshared &&
	       machine->ksm[KSM_PAGES_VOLATILE] > unshared;
}

/* Whether the counters of states are exact. */
static bool has_passed(const struct machine *machine)
{
	return machine->ksm[KSM_FULL_SCANS] == UNKNOWN ||
	       machine->ksm[KSM_FULL_SCANS] >= MIN_PASSES;
}

/*
 * Why ksmd could not merge pages that have duplicates.  A page that is locked when ksmd
 * comes does not explain why thousands of others have no duplicate.
 */
static enum state skip_state(const struct skips *skips)
{
	size_t i;

	if (skips->changing * FEW_SKIPPED < skips->unshared)
		return STATE_NOTHING;
	for (i = 0; i < ARRAY_SIZE(skip_states); i++)
		if (!strcmp(skips->reason, skip_states[i].reason))
			return skip_states[i].state;
	return STATE_NOTHING;
}

/*
 * Whether a reason of ksmd is known for more pages than are merged.  Only then does a
 * process that has merged pages have another state than merging.
 */
static bool has_more_skipped(const struct process *process)
{
	const struct skips *skips = &process->causes.skips;

	return skips->known && skips->unshared + skips->changing > skips->shared;
}

/*
 * Why the pages of a process that ksmd can scan are not merged.  The reason of most
 * pages comes first, what smaps tells of them is next.
 */
static enum state scan_state(const struct process *process, const struct machine *machine)
{
	const struct causes *causes = &process->causes;
	enum state skipped = skip_state(&causes->skips);

	if (has_merged(process) && (machine_state(machine) != STATE_NOTHING ||
				    !has_more_skipped(process)))
		return is_changing(process, machine) ? STATE_CHANGING : STATE_MERGING;
	if (causes->skips.known && is_changing(process, machine) && has_passed(machine))
		return STATE_CHANGING;
	if (skipped != STATE_NOTHING)
		return skipped;
	if (process->known == 0)
		return STATE_NEW;
	if (process->known == UNKNOWN)
		return STATE_NOTHING;
	if (!has_passed(machine))
		return STATE_FEW_PASSES;
	if (is_changing(process, machine))
		return STATE_CHANGING;
	if (causes->forked_kib * 2 > causes->mergeable_kib)
		return STATE_ELSEWHERE;
	return causes->huge_kib * 2 > causes->mergeable_kib ? STATE_HUGE : STATE_UNIQUE;
}

/* What keeps pages of marked memory from being merged, whatever they contain. */
static enum state marked_state(const struct process *process)
{
	const struct causes *causes = &process->causes;
	long long kib = causes->mergeable_kib;

	if (!causes->mergeable)
		return STATE_NOTHING;
	if (causes->swapped_kib > 0 && kib * 16 <= causes->swapped_kib)
		return STATE_SWAPPED;
	if (!kib)
		return has_merged(process) ? STATE_NOTHING : STATE_EMPTY;
	/* VFIO counts its pins as locked pages, iommufd as pinned ones. */
	if (causes->vfio && (causes->pinned_kib + causes->locked_kib) * 2 >= kib)
		return STATE_DEVICE;
	if (causes->pinned_kib * 2 < kib)
		return STATE_NOTHING;
	return !strcmp(causes->skips.reason, "pinned") ? STATE_EQUAL_PINNED : STATE_PINNED;
}

/* What keeps the memory of a process from being merged, whatever ksmd does. */
static enum state memory_state(const struct process *process)
{
	const struct causes *causes = &process->causes;
	bool marked = process->marked == 1 || causes->mergeable;

	if (causes->hugetlb_kib > causes->private_kib &&
	    causes->hugetlb_kib >= causes->shared_kib)
		return STATE_HUGETLB;
	if (causes->shared_kib > causes->private_kib)
		return STATE_SHARED;
	if (!marked && !has_merged(process) && (process->marked == 0 || causes->readable))
		return causes->forked_before ? STATE_EARLY : STATE_UNMARKED;
	return marked_state(process);
}

/* Reasons that do not depend on ksmd come first. */
static enum state judge(const struct process *process, const struct machine *machine)
{
	enum state state;

	if (!process->readable)
		return STATE_HIDDEN;
	if (!has_few_merged(process))
		return STATE_MERGING;
	state = memory_state(process);
	if (state == STATE_NOTHING && !has_merged(process))
		state = machine_state(machine);
	return state == STATE_NOTHING ? scan_state(process, machine) : state;
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

static void replace_sample(struct monitor *monitor, const struct sample *next)
{
	monitor->have_before = monitor->now.machine.uptime > 0;
	monitor->before = monitor->now.machine;
	free(monitor->now.table.row);
	free(monitor->now.cgroups.row);
	monitor->now = *next;
	remember(&monitor->history, machine_saved(&monitor->now.machine));
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
	struct sample next;
	size_t i;

	read_sample(&next, options, &monitor->now.table);
	for (i = 0; i < next.table.count; i++) {
		account(&next.table.row[i], &next.machine);
		next.table.row[i].state = judge(&next.table.row[i], &next.machine);
	}
	replace_sample(monitor, &next);
}

/**
 * take_judged() - take a sample that has the states of its processes
 * @monitor: its sample becomes the previous one
 * @next: the sample; @monitor takes over its tables
 */
void take_judged(struct monitor *monitor, const struct sample *next)
{
	size_t i;

	for (i = 0; i < next->table.count; i++)
		account(&next->table.row[i], &next->machine);
	replace_sample(monitor, next);
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
	return !options->merging_only || has_merged(process);
}
