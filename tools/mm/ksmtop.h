/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ksmtop - types and functions shared by its files
 *
 * A file calls only files below it in this list:
 *
 *	ksmtop.c		main loops: sample, draw, wait
 *	ksmtop_options.c	command line
 *	ksmtop_screen.c		terminal view and keys
 *	ksmtop_json.c		JSON
 *	ksmtop_text.c		lines of text, --batch
 *	ksmtop_judge.c		savings, costs, reasons, rates, sort order
 *	ksmtop_read.c		files of /proc and /sys
 *	ksmtop_util.c		fatal errors and allocation
 *
 * State travels down in struct options, struct monitor and struct view.
 */
#ifndef KSMTOP_H
#define KSMTOP_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdnoreturn.h>
#include <sys/types.h>

#define UNKNOWN		LLONG_MIN	/* a value that the kernel does not give */
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Files of /sys/kernel/mm/ksm that hold a number. */
enum ksm_file {
	KSM_RUN, KSM_PAGES_TO_SCAN, KSM_SLEEP_MILLISECS, KSM_SMART_SCAN,
	KSM_USE_ZERO_PAGES, KSM_FULL_SCANS, KSM_PAGES_SCANNED, KSM_PAGES_SKIPPED,
	KSM_PAGES_SHARED, KSM_PAGES_SHARING, KSM_PAGES_UNSHARED,
	KSM_PAGES_VOLATILE, KSM_ZERO_PAGES, KSM_GENERAL_PROFIT, NR_KSM_FILES
};

/* Why a process has no merged pages, or that it has some. */
enum state {
	STATE_MERGING, STATE_HIDDEN, STATE_HUGETLB, STATE_SHARED, STATE_UNMARKED,
	STATE_STOPPED, STATE_UNMERGED, STATE_ADVISOR_IDLE, STATE_NO_PAGES,
	STATE_NEW, STATE_FEW_PASSES, STATE_HUGE, STATE_UNIQUE, STATE_NOTHING,
	NR_STATES
};

enum sort_key {
	BY_SAVED, BY_MERGED, BY_COST, BY_PROFIT, BY_RSS, BY_PID, BY_COMMAND, NR_KEYS
};

/* The command line. The keys of the terminal view change it later. */
struct options {
	const char *root;	/* directory that holds proc and sys */
	bool batch, json, reverse, merging_only;
	double interval;	/* seconds between samples */
	long count;		/* samples, 0 for no limit, -1 if not given */
	enum sort_key sort;
	pid_t *pids;		/* processes to show; none means all */
	size_t nr_pids;
};

struct machine {
	long page_size;			/* bytes */
	long ticks_per_second;
	double uptime;			/* seconds, 0 if it cannot be read */
	long long ksm[NR_KSM_FILES];
	char advisor[32];		/* empty without an advisor */
	long long ksmd_pid;
	long long ksmd_ticks;		/* CPU time */
};

/* Sums over the VMAs of a process, from smaps, in KiB. */
struct smaps_totals {
	double read_at;		/* uptime in seconds, 0 if it was not read */
	bool readable;
	bool mergeable;		/* a VMA has the flag VM_MERGEABLE */
	long long mergeable_kib;
	long long huge_kib;	/* part of mergeable_kib in transparent huge pages */
	long long shared_kib;
	long long hugetlb_kib;
	long long other_kib;
};

struct process {
	pid_t pid;
	unsigned long long started;	/* detects that a PID was reused */
	char command[32];
	bool readable;
	long long rss;			/* pages */
	long long known;		/* pages with metadata in KSM */
	long long merged;		/* pages */
	long long zero;			/* pages */
	long long kernel_profit;	/* bytes, as in ksm_process_profit */
	long long domain;		/* inode of a cgroup, 0 for all */
	int marked, by_prctl;		/* 1, 0, or -1 if the kernel does not tell */
	long long saved, cost, profit;	/* bytes */
	struct smaps_totals smaps;
	enum state state;
};

struct process_table {
	struct process *row;
	size_t count, capacity;
};

/* The machine and its processes at one time. */
struct sample {
	struct machine machine;
	struct process_table table;
};

#define HISTORY_LENGTH	512

/* Bytes saved on the machine, the oldest sample first. */
struct history {
	long long saved[HISTORY_LENGTH];
	size_t count;
};

struct monitor {
	struct sample now;
	struct machine before;	/* the previous sample, for rates */
	bool have_before;
	struct history history;
};

/* State of the terminal view. */
struct view {
	bool utf8, colours, paused, help, quit;
	int top;		/* rows scrolled out at the top */
};

/* ksmtop_util.c */
noreturn void die(int status, const char *format, ...);
void *grow(void *memory, size_t size);

/* ksmtop_read.c */
const char *ksm_file_name(enum ksm_file file);
void read_sample(struct sample *sample, const struct options *options,
		 const struct process_table *old);

/* ksmtop_judge.c */
void take_sample(struct monitor *monitor, const struct options *options);
long long machine_saved(const struct machine *machine);
long long machine_cost(const struct machine *machine);
long long merged_bytes(const struct process *process, const struct machine *machine);
double ksm_file_rate(const struct monitor *monitor, enum ksm_file file);
double ksmd_percent(const struct monitor *monitor);
const char *state_word(enum state state);
const char *process_note(const struct process *process, const struct machine *machine);
const char *sort_key_name(enum sort_key key);
void sort_table(struct process_table *table, const struct options *options);
bool is_shown(const struct process *process, const struct options *options);

/* ksmtop_text.c */
enum { HEADER_LINES = 6 };

/* A line of text. What does not fit is cut off. */
struct line {
	char text[2048];
	size_t len;
};

/* The columns that the table has beside those it always has. */
struct layout {
	bool wide;		/* RSS and MERGED */
	bool bar;		/* a bar for SAVED */
	bool utf8;		/* the bar consists of block characters */
	long long most_saved;	/* bytes that fill the bar */
};

bool locale_is_utf8(void);
void add(struct line *line, const char *format, ...);
void header(struct line *lines, const struct monitor *monitor, int width, bool utf8);
void title_row(struct line *line, const struct layout *layout);
void process_row(struct line *line, const struct process *process,
		 const struct machine *machine, const struct layout *layout);
void print_batch(const struct monitor *monitor, const struct options *options);

/* ksmtop_json.c */
void print_json(const struct monitor *monitor, const struct options *options);

/* ksmtop_screen.c */
enum { NO_KEY = -1 };

void open_screen(struct view *view);
void draw_screen(struct view *view, const struct monitor *monitor,
		 const struct options *options);
int read_key(double seconds);
void obey_key(struct view *view, struct options *options,
	      const struct process_table *table, int key);

/* ksmtop_options.c */
void read_options(struct options *options, int argc, char **argv);

#endif
