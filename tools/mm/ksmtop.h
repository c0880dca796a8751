/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ksmtop - types and functions shared by its files
 *
 * A file calls only files below it in this list:
 *
 *	ksmtop.c		main loops: sample, draw, wait
 *	ksmtop_options.c	command line
 *	ksmtop_plot.c		a picture of a record
 *	ksmtop_screen.c		terminal view and keys
 *	ksmtop_vmas.c		the VMAs of a process
 *	ksmtop_json.c		JSON
 *	ksmtop_text.c		lines of text, --batch
 *	ksmtop_cgroup.c		sums by cgroup
 *	ksmtop_record.c		files of samples
 *	ksmtop_judge.c		savings, costs, reasons, rates, sort order
 *	ksmtop_read.c		files of /proc and /sys
 *	ksmtop_causes.c		what may keep pages from being merged
 *	ksmtop_util.c		fatal errors, allocation, small files
 *
 * State travels down in struct options, struct monitor and struct view.
 */
#ifndef KSMTOP_H
#define KSMTOP_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdnoreturn.h>
#include <sys/types.h>
#include <time.h>

#define UNKNOWN		LLONG_MIN	/* a value that the kernel does not give */
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Files of /sys/kernel/mm/ksm that hold a number. */
enum ksm_file {
	KSM_RUN, KSM_PAGES_TO_SCAN, KSM_SLEEP_MILLISECS, KSM_SMART_SCAN,
	KSM_USE_ZERO_PAGES, KSM_MERGE_ACROSS_CGROUPS, KSM_FULL_SCANS, KSM_PAGES_SCANNED,
	KSM_PAGES_SKIPPED, KSM_PAGES_SHARED, KSM_PAGES_SHARING, KSM_PAGES_UNSHARED,
	KSM_PAGES_VOLATILE, KSM_ZERO_PAGES, KSM_GENERAL_PROFIT, NR_KSM_FILES
};

/* Why a process has no merged pages, or few; or that it has some. */
enum state {
	STATE_MERGING, STATE_HIDDEN,
	/* The memory cannot be merged. */
	STATE_HUGETLB, STATE_SHARED, STATE_UNMARKED, STATE_EARLY, STATE_EMPTY,
	STATE_SWAPPED, STATE_DEVICE, STATE_PINNED,
	/* ksmd does not scan. */
	STATE_STOPPED, STATE_UNMERGED, STATE_ADVISOR_IDLE, STATE_NO_PAGES,
	/* ksmd has scanned too little, or has found nothing to merge. */
	STATE_NEW, STATE_FEW_PASSES, STATE_CHANGING, STATE_EQUAL_PINNED, STATE_BUSY,
	STATE_ELSEWHERE, STATE_HUGE_KEPT, STATE_NO_MEMORY,
	STATE_POISONED, STATE_TAGGED, STATE_MOVING, STATE_HUGE, STATE_UNIQUE, STATE_NOTHING,
	NR_STATES
};

enum sort_key {
	BY_SAVED, BY_MERGED, BY_COST, BY_PROFIT, BY_RSS, BY_PID, BY_COMMAND, NR_KEYS
};

/* The command line. The keys of the terminal view change it later. */
struct options {
	const char *root;	/* directory that holds proc and sys */
	bool batch, json, reverse, merging_only;
	bool by_cgroup;		/* a table of cgroups instead of processes */
	double interval;	/* seconds between samples */
	long count;		/* samples, 0 for no limit, -1 if not given */
	enum sort_key sort;
	pid_t *pids;		/* processes to show; none means all */
	size_t nr_pids;
	const char *record, *replay, *plot;	/* files; NULL for none */
};

struct machine {
	long page_size;			/* bytes */
	long ticks_per_second;
	double uptime;			/* seconds, 0 if it cannot be read */
	time_t clock;
	long long ksm[NR_KSM_FILES];
	char advisor[32];		/* empty without an advisor */
	long long ksmd_pid;
	long long ksmd_ticks;		/* CPU time */
};

/* A VMA, from smaps. */
struct vma {
	unsigned long long start, end;
	bool shared, hugetlb;
	bool marked;		/* it has the flag VM_MERGEABLE */
	long long rss_kib, anonymous_kib, swapped_kib, merged_kib;
	long long huge_kib;	/* in transparent huge pages */
	long long shared_kib;	/* pages that other processes map too */
	long long hugetlb_kib;
	char name[128];
};

/* The VMAs of a process that was chosen in the terminal. */
struct vma_table {
	bool open;
	pid_t pid;
	unsigned long long started;	/* detects that the PID was reused */
	const char *problem;	/* why there are no VMAs, or NULL */
	struct vma *row;	/* in the order of addresses */
	size_t count, capacity;
	int top;		/* rows scrolled out at the top */
};

/* What ksmd found in a process, from debugfs. */
struct skips {
	bool known;
	long long shared, unshared, changing;	/* pages */
	char reason[32];	/* why pages are not merged, empty if all are */
};

/* What may keep pages of a process from being merged. */
struct causes {
	double read_at;		/* uptime in seconds, 0 if it was not read */
	bool readable;		/* smaps */
	bool mergeable;		/* a VMA is marked */
	long long mergeable_kib;	/* anonymous pages of marked VMAs, in memory */
	long long huge_kib;	/* part of these in transparent huge pages */
	long long forked_kib;	/* part of it that other processes map, unmerged */
	long long swapped_kib;	/* pages of marked VMAs in swap */
	long long private_kib, shared_kib;	/* in memory and in swap; files count if shared */
	long long hugetlb_kib;
	long long pinned_kib, locked_kib;	/* VmPin and VmLck */
	bool vfio;		/* it has opened a device of VFIO */
	bool forked_before;	/* its parent uses prctl(), and it does not */
	struct skips skips;
};

struct process {
	pid_t pid;
	unsigned long long started;	/* detects that a PID was reused */
	char command[32];
	char cgroup[512];	/* its path, empty if it is unknown */
	bool readable;
	long long rss;			/* pages */
	long long known;		/* pages with metadata in KSM */
	long long merged;		/* pages */
	long long zero;			/* pages */
	long long sharing;		/* pages that need no memory of their own */
	long long kernel_profit;	/* bytes, as in ksm_process_profit */
	long long domain;		/* inode of a cgroup, 0 for all */
	int marked, by_prctl;		/* 1, 0, or -1 if the kernel does not tell */
	long long saved, cost, profit;	/* bytes */
	struct causes causes;
	enum state state;
};

struct process_table {
	struct process *row;
	size_t count, capacity;
};

/* A cgroup, with the processes of all cgroups below it. */
struct cgroup {
	char path[512];
	size_t processes, own_processes;	/* with and without those below */
	bool has_stat;		/* the file memory.ksm.stat exists */
	bool group, merge;	/* memory.ksm.group and memory.ksm.merge are 1 */
	bool merged_by_file;	/* memory.ksm.merge is 1 here or above */
	long long domain;	/* UNKNOWN without processes that can be read */
	bool several_domains;	/* its processes are in several */
	long long saved, cost, profit;	/* bytes */
	long long rss_by_state[NR_STATES];	/* pages */
	enum state state;
};

struct cgroup_table {
	struct cgroup *row;
	size_t count, capacity;
	bool read;		/* false until the table is first asked for */
	bool counted;		/* a cgroup has memory.ksm.stat */
};

/* The machine and its processes at one time. */
struct sample {
	struct machine machine;
	struct process_table table;
	struct cgroup_table cgroups;
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
	FILE *record, *replay;	/* NULL for none */
};

/* State of the terminal view. */
struct view {
	bool utf8, colours, paused, help, quit;
	bool ended;		/* a record has no more samples */
	int top;		/* rows scrolled out at the top */
	int cursor;		/* the chosen row, counted from the first one */
	pid_t chosen;		/* its process; 0 follows the row instead */
	struct vma_table vmas;
};

/* ksmtop_util.c */
noreturn void die(int status, const char *format, ...);
void *grow(void *memory, size_t size);
FILE *open_file(const char *root, const char *format, ...);
size_t read_text(FILE *file, char *text, size_t size);
void make_printable(char *text);

/* ksmtop_causes.c */
bool has_merged(const struct process *process);
bool has_few_merged(const struct process *process);
int read_vmas(const char *root, pid_t pid, void (*take)(const struct vma *vma, void *data),
	      void *data);
void read_causes(struct causes *causes, const char *root, pid_t pid, pid_t parent);
void read_skips(struct sample *sample, const char *root);

/* ksmtop_read.c */
const char *ksm_file_name(enum ksm_file file);
bool is_wanted(const struct options *options, pid_t pid);
struct process *unused_row(struct process_table *table);
void read_sample(struct sample *sample, const struct options *options,
		 const struct process_table *old);

/* ksmtop_record.c */
FILE *begin_record(const char *path);
FILE *open_record(const char *path);
bool next_sample(struct monitor *monitor, const struct options *options);

/* ksmtop_judge.c */
void take_sample(struct monitor *monitor, const struct options *options);
void take_judged(struct monitor *monitor, const struct sample *next);
long long machine_saved(const struct machine *machine);
long long machine_cost(const struct machine *machine);
long long merged_bytes(const struct process *process, const struct machine *machine);
double ksm_file_rate(const struct monitor *monitor, enum ksm_file file);
double ksmd_percent(const struct monitor *monitor);
const char *state_word(enum state state);
const char *state_note(enum state state);
const char *process_note(const struct process *process, const struct machine *machine);
const char *state_hint(enum state state);
const char *sort_key_name(enum sort_key key);
void sort_table(struct process_table *table, const struct options *options);
bool is_shown(const struct process *process, const struct options *options);

/* ksmtop_cgroup.c */
void read_cgroups(struct sample *sample, const char *root);
const char *cgroup_problem(const struct sample *sample);
const char *cgroup_note(const struct cgroup *cgroup, const struct machine *machine);
bool cgroup_is_shown(const struct cgroup *cgroup, const struct options *options);
void sort_cgroups(struct cgroup_table *table, const struct options *options);

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
	int path_width;		/* columns for the path of a cgroup */
};

bool locale_is_utf8(void);
void add(struct line *line, const char *format, ...);
void add_mib(struct line *line, int width, long long bytes);
void add_path(struct line *line, const char *path, int width);
void header(struct line *lines, const struct monitor *monitor, int width, bool utf8);
void title_row(struct line *line, const struct layout *layout);
void process_row(struct line *line, const struct process *process,
		 const struct machine *machine, const struct layout *layout);
int other_columns(const struct layout *layout);
void cgroup_title_row(struct line *line, const struct layout *layout);
void cgroup_row(struct line *line, const struct cgroup *cgroup,
		const struct machine *machine, const struct layout *layout);
void print_batch(const struct monitor *monitor, const struct options *options);

/* ksmtop_json.c */
void print_json(const struct monitor *monitor, const struct options *options);

/* ksmtop_plot.c */
void plot(struct monitor *monitor, const struct options *options);

/* ksmtop_vmas.c */
enum { VMA_HEADER_LINES = 3 };

void open_vmas(struct vma_table *table, const struct process *process,
	       const struct options *options);
void refresh_vmas(struct vma_table *table, const struct sample *sample,
		  const struct options *options);
void vma_header(struct line *lines, const struct vma_table *table,
		const struct sample *sample, const struct layout *layout, int width);
void vma_row(struct line *line, const struct vma *vma, int width);

/* ksmtop_screen.c */
enum { NO_KEY = -1 };

void open_screen(struct view *view);
void draw_screen(struct view *view, const struct monitor *monitor,
		 const struct options *options);
int read_key(double seconds);
void obey_key(struct view *view, struct options *options,
	      const struct sample *sample, int key);

/* ksmtop_options.c */
void read_options(struct options *options, int argc, char **argv);

#endif
