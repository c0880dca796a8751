// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - what merging saves, by process
 *
 * What top(1) is to CPU time: a table of the processes with what KSM saves in
 * each, what that costs, and, where nothing merges, why. All of it is read
 * from /proc and /sys; a kernel that tells less makes for a table with gaps.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <curses.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define VERSION		"1.0"
#define MIB		(1024.0 * 1024.0)
#define UNKNOWN		LLONG_MIN
#define HISTORY		512	/* samples that the history line may show */
#define KTHREAD		0x200000ULL	/* PF_KTHREAD, in /proc/PID/stat */
#define LOOK_AGAIN	10.0	/* seconds that a look at smaps is good for */
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

enum { EXIT_USAGE = 2 };

static const char usage_text[] =
	"Usage: ksmtop [OPTION...]\n"
	"\n"
	"Shows what KSM (Kernel Samepage Merging) saves, by process, and why where it\n"
	"saves nothing. Without a terminal it prints the table once, as --batch does.\n"
	"\n"
	"  -b, --batch           print plain text instead of using the terminal\n"
	"  -j, --json            print one JSON object a line\n"
	"  -d, --interval SECS   time between two looks, 0.1 to 3600 (default 2)\n"
	"  -n, --count N         end after N looks; 0 is never (default: 1 with --batch\n"
	"                        and --json, 0 else)\n"
	"  -s, --sort KEY        saved, merged, cost, profit, rss, pid or command\n"
	"  -r, --reverse         the other way round\n"
	"  -p, --pid PID[,PID]   only these processes\n"
	"  -m, --merging         only processes in which something is merged\n"
	"      --root DIR        read DIR/proc and DIR/sys\n"
	"  -h, --help            print this text\n"
	"  -V, --version         print the version\n"
	"\n"
	"Keys: q quit, h help, space pause, s m c p r i n sort, R reverse, a all or\n"
	"merging only, + - interval, arrows and page keys scroll.\n";

static const char *const help_lines[] = {
	"q  quit                      space  pause, and go on",
	"s  sort by saved             m  by merged    c  by cost    p  by profit",
	"r  by rss                    i  by pid       n  by name    R  reverse",
	"a  all, or merging only      + -  look more or less often",
	"arrows, page keys, home      scroll",
	"",
	"RSS     memory of the process that is in RAM, in MiB like all that follows",
	"MERGED  its pages that are shared by merging, or merged with the zero page",
	"SAVED   its part of what the whole machine saves by that",
	"COST    what the kernel keeps in order to know its pages",
	"PROFIT  SAVED less COST",
	"",
	"not marked      ask by madvise(MADV_MERGEABLE), prctl or ksmrun",
	"mapped shared   memfds, virtiofs, vhost-user: KSM merges private memory",
	"hugetlb pages   KSM merges no pages of hugetlbfs",
	"advisor asleep  it lets ksmd scan nothing: see advisor_max_cpu and",
	"                advisor_max_pages_to_scan",
	"too early       equal pages need two passes, figures three: see full_scans",
	"no equal pages  all were looked at, and none has its like so far",
};

/* Files of /sys/kernel/mm/ksm that hold a number. */
enum figure {
	RUN, PAGES_TO_SCAN, SLEEP_MILLISECS, SMART_SCAN, USE_ZERO_PAGES, FULL_SCANS,
	PAGES_SCANNED, PAGES_SKIPPED, PAGES_SHARED, PAGES_SHARING, PAGES_UNSHARED,
	PAGES_VOLATILE, ZERO_PAGES, GENERAL_PROFIT, NR_FIGURES
};

static const char *const figure_names[NR_FIGURES] = {
	"run", "pages_to_scan", "sleep_millisecs", "smart_scan", "use_zero_pages",
	"full_scans", "pages_scanned", "pages_skipped", "pages_shared",
	"pages_sharing", "pages_unshared", "pages_volatile", "ksm_zero_pages",
	"general_profit",
};

enum state {
	MERGING, HIDDEN, HUGETLB, SHARED, UNMARKED, STOPPED, UNMERGED, ASLEEP,
	NO_PAGES, NEW, YOUNG, HUGE, UNIQUE, NOTHING, NR_STATES
};

/* A word for programs, and a note that leaves room for a table in 80 columns. */
static const struct {
	const char *word, *note;
} states[NR_STATES] = {
	[MERGING] = { "merging", "merging" },
	[HIDDEN] = { "hidden", "not readable: try as root" },
	[HUGETLB] = { "hugetlb", "hugetlb pages, cannot merge" },
	[SHARED] = { "shared", "mapped shared, cannot merge" },
	[UNMARKED] = { "unmarked", "not marked (madvise, prctl)" },
	[STOPPED] = { "stopped", "KSM is stopped (run is 0)" },
	[UNMERGED] = { "unmerged", "KSM is stopped (run is 2)" },
	[ASLEEP] = { "asleep", "advisor asleep" },
	[NO_PAGES] = { "no-pages", "pages_to_scan is 0" },
	[NEW] = { "new", "marked, not looked at yet" },
	[YOUNG] = { "young", "too early, 3 passes needed" },
	[HUGE] = { "huge", "huge pages, none equal" },
	[UNIQUE] = { "unique", "no equal pages" },
	[NOTHING] = { "nothing", "nothing merged" },
};

/* One look at the machine. */
struct machine {
	double uptime;		/* seconds */
	long long figure[NR_FIGURES];
	char advisor[32];
	long long ksmd_pid;
	long long ksmd_ticks;	/* CPU time */
};

/* What /proc/PID/smaps says of where memory is, in KiB. */
struct areas {
	double when;		/* the uptime of the look, 0 for none so far */
	bool readable;
	bool marked;		/* an area has the mark */
	long long mergeable;	/* of marked areas */
	long long huge;		/* of that, in transparent huge pages */
	long long shared;
	long long hugetlb;
	long long rest;
};

struct process {
	pid_t pid;
	unsigned long long started;	/* tells a pid from its next bearer */
	char command[32];
	bool readable;
	long long rss;			/* pages */
	long long known;		/* pages that ksmd has a record of */
	long long merged;		/* pages */
	long long zero;			/* pages */
	long long kernel_profit;	/* bytes, by the kernel's own account */
	int marked, by_prctl;		/* 1, 0, or -1 where the kernel does not say */
	long long saved, cost, profit;	/* bytes */
	struct areas areas;
	enum state state;
};

struct table {
	struct process *row;
	size_t count, room;
};

enum key { BY_SAVED, BY_MERGED, BY_COST, BY_PROFIT, BY_RSS, BY_PID, BY_COMMAND, NR_KEYS };

static const char *const key_names[NR_KEYS] = {
	"saved", "merged", "cost", "profit", "rss", "pid", "command",
};

static const char key_letters[] = "smcprin";

static struct {
	const char *root;
	bool batch, json, reverse, merging_only;
	double interval;
	long count;		/* -1 as long as nothing was said */
	enum key sort;
	pid_t *pids;
	size_t nr_pids;
} want = { .root = "", .interval = 2, .count = -1 };

static struct machine now, before;
static bool have_before;
static struct table table;
static long long history[HISTORY];
static size_t history_count;
static long page_size, ticks_per_second;
static int end_asked;	/* set by a signal */

static noreturn void die(int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "ksmtop: ");
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(status);
}

static void *grow(void *memory, size_t size)
{
	memory = realloc(memory, size);
	if (!memory)
		die(EXIT_FAILURE, "there is no memory left");
	return memory;
}

/* Opens a file under the root. */
static FILE *open_file(const char *format, ...)
{
	char path[PATH_MAX];
	va_list args;
	int len;

	len = snprintf(path, sizeof(path), "%s", want.root);
	va_start(args, format);
	vsnprintf(path + len, sizeof(path) - len, format, args);
	va_end(args);
	return fopen(path, "re");
}

/* Reads what fits, closes the file; false where there is none or nothing. */
static bool read_text(FILE *file, char *text, size_t size)
{
	size_t len;

	if (!file)
		return false;
	len = fread(text, 1, size - 1, file);
	fclose(file);
	text[len] = '\0';
	return len > 0;
}

static long long read_figure(const char *name)
{
	char text[64], *end;
	long long value;

	if (!read_text(open_file("/sys/kernel/mm/ksm/%s", name), text, sizeof(text)))
		return UNKNOWN;
	value = strtoll(text, &end, 10);
	return end == text ? UNKNOWN : value;
}

/* The word in brackets is the one in force. */
static void read_advisor(char *mode, size_t size)
{
	char text[256], *from, *to;

	mode[0] = '\0';
	if (!read_text(open_file("/sys/kernel/mm/ksm/advisor_mode"), text, sizeof(text)))
		return;
	from = strchr(text, '[');
	to = from ? strchr(from, ']') : NULL;
	if (to)
		snprintf(mode, size, "%.*s", (int)(to - from - 1), from + 1);
}

/* What a process calls itself may do no harm to a terminal. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

struct stat_line {
	char name[64];
	unsigned long long flags, ticks, started;
};

/* A name may hold anything, a closing bracket too: the last one ends it. */
static bool read_stat(const char *pid, struct stat_line *line)
{
	unsigned long long user, kernel;
	char text[1024], *from, *to;

	if (!read_text(open_file("/proc/%s/stat", pid), text, sizeof(text)))
		return false;
	from = strchr(text, '(');
	to = strrchr(text, ')');
	if (!from || !to || to < from)
		return false;
	if (sscanf(to + 1,
		   " %*c %*d %*d %*d %*d %*d %llu %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %llu",
		   &line->flags, &user, &kernel, &line->started) != 4)
		return false;
	snprintf(line->name, sizeof(line->name), "%.*s", (int)(to - from - 1), from + 1);
	line->ticks = user + kernel;
	return true;
}

/* A host's guests all have the same program: their names tell them apart. */
static void name_guest(const char *pid, char *command, size_t size)
{
	char text[4096], program[8], *arg, *name = NULL;
	size_t len;
	FILE *file;

	snprintf(program, sizeof(program), "%.4s", command);
	if (strncmp(command, "qemu", 4) && strncmp(command, "kvm", 3))
		return;
	file = open_file("/proc/%s/cmdline", pid);
	if (!file)
		return;
	len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = '\0';
	for (arg = text; arg < text + len; arg += strlen(arg) + 1)
		if (!strcmp(arg, "-name") && arg + 6 < text + len)
			name = arg + 6;
	if (!name)
		return;
	if (!strncmp(name, "guest=", 6))
		name += 6;
	snprintf(command, size, "%s %.*s", program, (int)strcspn(name, ","), name);
}

/* A line "name value" or "name: value" of ksm_stat. */
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
	else if (!strcmp(name, "ksm_process_profit"))
		process->kernel_profit = atoll(value);
	else if (!strcmp(name, "ksm_merge_any"))
		process->by_prctl = !strcmp(value, "yes");
	else if (!strcmp(name, "ksm_mergeable"))
		process->marked = !strcmp(value, "yes");
}

/* Kernels before 6.1 have the number of merged pages only. */
static void read_ksm_stat(const char *pid, struct process *process)
{
	char text[64], line[256];
	FILE *file;

	process->known = UNKNOWN;
	process->merged = UNKNOWN;
	process->zero = UNKNOWN;
	process->kernel_profit = UNKNOWN;
	process->marked = -1;
	process->by_prctl = -1;
	file = open_file("/proc/%s/ksm_stat", pid);
	if (file) {
		while (fgets(line, sizeof(line), file))
			take_ksm_line(process, line);
		fclose(file);
	}
	if (process->merged == UNKNOWN &&
	    read_text(open_file("/proc/%s/ksm_merging_pages", pid), text, sizeof(text)))
		process->merged = atoll(text);
	process->readable = process->merged != UNKNOWN;
}

/* One area of smaps, while its lines are read. */
struct area {
	bool shared;
	long long rss, huge, hugetlb;
};

/* VmFlags is the last line of an area: the sums are done here. */
static void take_area(struct areas *areas, const struct area *area, const char *flags)
{
	if (area->hugetlb || strstr(flags, " ht")) {
		areas->hugetlb += area->hugetlb;
	} else if (area->shared) {
		areas->shared += area->rss;
	} else if (strstr(flags, " mg")) {
		areas->marked = true;
		areas->mergeable += area->rss;
		areas->huge += area->huge;
	} else {
		areas->rest += area->rss;
	}
}

static void read_areas(const char *pid, struct areas *areas)
{
	struct area area = { 0 };
	char line[1024], mode[8];
	long long value;
	FILE *file;

	*areas = (struct areas) { .when = now.uptime };
	file = open_file("/proc/%s/smaps", pid);
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%*x-%*x %7s", mode) == 1)
			area = (struct area) { .shared = mode[3] == 's' };
		else if (sscanf(line, "Rss: %lld", &value) == 1)
			area.rss = value;
		else if (sscanf(line, "AnonHugePages: %lld", &value) == 1)
			area.huge = value;
		else if (sscanf(line, "Shared_Hugetlb: %lld", &value) == 1 ||
			 sscanf(line, "Private_Hugetlb: %lld", &value) == 1)
			area.hugetlb += value;
		else if (!strncmp(line, "VmFlags:", 8))
			take_area(areas, &area, line + 7);
		areas->readable = true;
	}
	fclose(file);
}

/* Of a page that is shared, a mapping saves what is not kept of it. */
static void account(struct process *process)
{
	long long shared = now.figure[PAGES_SHARED], sharing = now.figure[PAGES_SHARING];
	long long zero = process->zero == UNKNOWN ? 0 : process->zero;
	double part = 0;

	process->saved = UNKNOWN;
	process->cost = UNKNOWN;
	process->profit = UNKNOWN;
	if (!process->readable)
		return;
	if (shared != UNKNOWN && sharing != UNKNOWN) {
		if (shared + sharing > 0)
			part = (double)sharing / (shared + sharing);
		process->saved = llround((process->merged * part + zero) * page_size);
	}
	if (process->kernel_profit != UNKNOWN)
		process->cost = (process->merged + zero) * page_size - process->kernel_profit;
	if (process->saved != UNKNOWN && process->cost != UNKNOWN)
		process->profit = process->saved - process->cost;
}

/* What of the machine keeps ksmd from looking at anything. */
static enum state machine_state(void)
{
	if (now.figure[RUN] == 0)
		return STOPPED;
	if (now.figure[RUN] == 2)
		return UNMERGED;
	if (now.figure[PAGES_TO_SCAN] == 0)
		return strcmp(now.advisor, "scan-time") ? NO_PAGES : ASLEEP;
	return NOTHING;
}

/* Why nothing merges: first what holds whatever ksmd does. */
static enum state judge(const struct process *process)
{
	const struct areas *areas = &process->areas;
	long long most = areas->mergeable + areas->rest;
	bool marked = process->marked == 1 || areas->marked;
	enum state machine = machine_state();

	if (!process->readable)
		return HIDDEN;
	if (process->merged > 0 || process->zero > 0)
		return MERGING;
	if (areas->hugetlb > most && areas->hugetlb >= areas->shared)
		return HUGETLB;
	if (areas->shared > most)
		return SHARED;
	if (!marked && (process->marked == 0 || areas->readable))
		return UNMARKED;
	if (machine != NOTHING)
		return machine;
	if (process->known == 0)
		return NEW;
	if (process->known == UNKNOWN)
		return NOTHING;
	if (now.figure[FULL_SCANS] != UNKNOWN && now.figure[FULL_SCANS] < 3)
		return YOUNG;
	return areas->huge * 2 > areas->mergeable ? HUGE : UNIQUE;
}

static const struct process *find(const struct table *old, const struct process *process)
{
	size_t i;

	for (i = 0; i < old->count; i++)
		if (old->row[i].pid == process->pid && old->row[i].started == process->started)
			return &old->row[i];
	return NULL;
}

/* smaps is long: it is read only where nothing merges, and not at each look. */
static void look_at_areas(const char *pid, struct process *process, const struct table *old)
{
	const struct process *last = find(old, process);

	if (!process->readable || process->merged > 0 || process->zero > 0)
		return;
	if (last && last->areas.when > 0 && last->areas.when + LOOK_AGAIN > now.uptime)
		process->areas = last->areas;
	else
		read_areas(pid, &process->areas);
}

static bool wanted(pid_t pid)
{
	size_t i;

	for (i = 0; i < want.nr_pids; i++)
		if (want.pids[i] == pid)
			return true;
	return !want.nr_pids;
}

/* False for those without memory of their own, and for those that have gone. */
static bool read_process(const char *pid, const struct stat_line *line, struct process *process,
			 const struct table *old)
{
	char text[256];

	*process = (struct process) { .pid = atoi(pid), .started = line->started };
	snprintf(process->command, sizeof(process->command), "%.31s", line->name);
	if (!read_text(open_file("/proc/%s/statm", pid), text, sizeof(text)) ||
	    sscanf(text, "%*u %lld", &process->rss) != 1 || !process->rss)
		return false;
	name_guest(pid, process->command, sizeof(process->command));
	make_printable(process->command);
	read_ksm_stat(pid, process);
	look_at_areas(pid, process, old);
	account(process);
	return true;
}

static void take_process(struct table *new, const char *pid, const struct table *old)
{
	struct stat_line line;

	if (!read_stat(pid, &line))
		return;
	if (line.flags & KTHREAD) {
		if (!strcmp(line.name, "ksmd")) {
			now.ksmd_pid = atoi(pid);
			now.ksmd_ticks = line.ticks;
		}
		return;
	}
	if (!wanted(atoi(pid)))
		return;
	if (new->count == new->room) {
		new->room = new->room * 2 + 64;
		new->row = grow(new->row, new->room * sizeof(*new->row));
	}
	if (read_process(pid, &line, &new->row[new->count], old))
		new->count++;
}

static void read_processes(void)
{
	struct table old = table;
	struct dirent *entry;
	char path[PATH_MAX];
	DIR *dir;
	size_t i;

	table = (struct table) { 0 };
	snprintf(path, sizeof(path), "%s/proc", want.root);
	dir = opendir(path);
	if (!dir)
		die(EXIT_FAILURE, "cannot read %s: %s; mount proc there", path, strerror(errno));
	while ((entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]))
			take_process(&table, entry->d_name, &old);
	closedir(dir);
	free(old.row);
	for (i = 0; i < table.count; i++)
		table.row[i].state = judge(&table.row[i]);
}

static double read_uptime(void)
{
	char text[64];

	return read_text(open_file("/proc/uptime"), text, sizeof(text)) ? atof(text) : 0;
}

/* Bytes saved on the whole machine. */
static long long machine_saved(void)
{
	long long zero = now.figure[ZERO_PAGES];

	if (now.figure[PAGES_SHARING] == UNKNOWN)
		return UNKNOWN;
	return (now.figure[PAGES_SHARING] + (zero == UNKNOWN ? 0 : zero)) * page_size;
}

static long long machine_cost(void)
{
	if (now.figure[GENERAL_PROFIT] == UNKNOWN || machine_saved() == UNKNOWN)
		return UNKNOWN;
	return machine_saved() - now.figure[GENERAL_PROFIT];
}

static void remember(long long saved)
{
	if (history_count == HISTORY) {
		memmove(history, history + 1, (HISTORY - 1) * sizeof(*history));
		history_count--;
	}
	history[history_count++] = saved == UNKNOWN ? 0 : saved;
}

static void sample(void)
{
	int i;

	have_before = now.uptime > 0;
	before = now;
	now = (struct machine) { .ksmd_pid = UNKNOWN, .ksmd_ticks = UNKNOWN };
	now.uptime = read_uptime();
	for (i = 0; i < NR_FIGURES; i++)
		now.figure[i] = read_figure(figure_names[i]);
	read_advisor(now.advisor, sizeof(now.advisor));
	read_processes();
	remember(machine_saved());
}

/* How fast something counts up, by the second, or below 0 where unknown. */
static double rate(long long last, long long this)
{
	double seconds = now.uptime - before.uptime;

	if (!have_before || last == UNKNOWN || this == UNKNOWN || seconds <= 0 || this < last)
		return -1;
	return (this - last) / seconds;
}

static double ksmd_percent(void)
{
	double ticks = -1;

	if (before.ksmd_pid == now.ksmd_pid)
		ticks = rate(before.ksmd_ticks, now.ksmd_ticks);
	return ticks < 0 ? -1 : 100 * ticks / ticks_per_second;
}

static int order(long long a, long long b)
{
	return (a > b) - (a < b);
}

/* The largest first, but for pids and names. What is unknown is smallest. */
static int compare_rows(const void *left, const void *right)
{
	const struct process *a = left, *b = right;
	int result = 0;

	switch (want.sort) {
	case BY_MERGED:
		result = order(b->merged, a->merged);
		break;
	case BY_COST:
		result = order(b->cost, a->cost);
		break;
	case BY_PROFIT:
		result = order(b->profit, a->profit);
		break;
	case BY_RSS:
		result = order(b->rss, a->rss);
		break;
	case BY_COMMAND:
		result = strcmp(a->command, b->command);
		break;
	case BY_PID:
		result = order(a->pid, b->pid);
		break;
	default:
		result = order(b->saved, a->saved);
		break;
	}
	if (!result)
		result = order(b->rss, a->rss);
	if (!result)
		result = order(a->pid, b->pid);
	return want.reverse ? -result : result;
}

static void sort_table(void)
{
	if (table.count)
		qsort(table.row, table.count, sizeof(*table.row), compare_rows);
}

static bool shown(const struct process *process)
{
	return !want.merging_only || process->state == MERGING;
}

/* A text under construction; what does not fit is left out. */
struct line {
	char text[2048];
	size_t len;
};

static void add(struct line *line, const char *format, ...)
{
	size_t room = sizeof(line->text) - line->len;
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line->text + line->len, room, format, args);
	va_end(args);
	if (len > 0)
		line->len += (size_t)len < room ? (size_t)len : room - 1;
}

/* What rounds to nothing has no sign. */
static void add_mib(struct line *line, int width, long long bytes)
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

static const char *run_text(void)
{
	switch (now.figure[RUN]) {
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

static void state_line(struct line *line)
{
	time_t seconds = time(NULL);
	char clock[16];

	strftime(clock, sizeof(clock), "%H:%M:%S", localtime(&seconds));
	add(line, "%s  KSM is %s;", clock, run_text());
	add_number(line, "passes", now.figure[FULL_SCANS]);
	add_number(line, " scan", now.figure[PAGES_TO_SCAN]);
	add_number(line, " sleep", now.figure[SLEEP_MILLISECS]);
	add(line, " ms  advisor %s", now.advisor[0] ? now.advisor : "-");
}

static void saved_line(struct line *line)
{
	add(line, "saved");
	add_mib(line, 0, machine_saved());
	add(line, " MiB, cost");
	add_mib(line, 0, machine_cost());
	add(line, " MiB, profit");
	add_mib(line, 0, now.figure[GENERAL_PROFIT]);
	add(line, " MiB;");
	add_number(line, "zero pages", now.figure[ZERO_PAGES]);
}

static void pages_line(struct line *line)
{
	add(line, "pages");
	add_number(line, "shared", now.figure[PAGES_SHARED]);
	add_number(line, " sharing", now.figure[PAGES_SHARING]);
	add_number(line, " unshared", now.figure[PAGES_UNSHARED]);
	add_number(line, " volatile", now.figure[PAGES_VOLATILE]);
}

/* In a container ksmd is at work, but not to be seen. */
static void ksmd_line(struct line *line)
{
	if (now.ksmd_ticks == UNKNOWN) {
		add(line, "ksmd cannot be seen here");
	} else {
		add(line, "ksmd");
		add_rate(line, ksmd_percent(), " % of a CPU");
		add(line, ", %.1f s so far", (double)now.ksmd_ticks / ticks_per_second);
	}
	add(line, "; looks at");
	add_rate(line, rate(before.figure[PAGES_SCANNED], now.figure[PAGES_SCANNED]), " pages/s,");
	add(line, " skips");
	add_rate(line, rate(before.figure[PAGES_SKIPPED], now.figure[PAGES_SKIPPED]), "");
}

static void count_line(struct line *line)
{
	size_t i, merging = 0, hidden = 0;

	for (i = 0; i < table.count; i++) {
		merging += table.row[i].state == MERGING;
		hidden += table.row[i].state == HIDDEN;
	}
	add(line, "%zu processes, %zu with merged pages", table.count, merging);
	if (hidden)
		add(line, ", %zu not readable: run ksmtop as root to see them", hidden);
}

/* The saved memory of the last looks, a column each, as parts of the most. */
static void history_line(struct line *line, int width, bool utf8)
{
	static const char *const blocks[] = {
		" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"
	};
	static const char plain[][2] = { " ", ".", ":", "-", "=", "+", "*", "#", "@" };
	size_t i, from = 0, columns, level;
	long long most = 0;

	for (i = 0; i < history_count; i++)
		most = history[i] > most ? history[i] : most;
	add(line, "saved, 0 to %.1f MiB |", most / MIB);
	columns = width > (int)line->len + 1 ? width - line->len - 1 : 0;
	if (history_count > columns)
		from = history_count - columns;
	for (i = from; i < history_count; i++) {
		level = most ? (history[i] * 8 + most - 1) / most : 0;
		add(line, "%s", utf8 ? blocks[level] : plain[level]);
	}
	if (columns)
		add(line, "|");
}

/* Two columns give way where a terminal is narrow. */
static bool is_wide(int width)
{
	return width >= 100;
}

static void title_row(struct line *line, int width)
{
	add(line, "%7s %-15s", "PID", "COMMAND");
	if (is_wide(width))
		add(line, " %9s %9s", "RSS", "MERGED");
	add(line, " %9s %7s %9s  %s", "SAVED", "COST", "PROFIT", "WHY");
}

static const char *note_of(const struct process *process)
{
	if (process->state != MERGING)
		return states[process->state].note;
	if (now.figure[RUN] == 0)
		return "merged, KSM is stopped now";
	if (process->by_prctl == 1)
		return "merging, by prctl";
	return process->by_prctl == 0 ? "merging, by madvise" : states[MERGING].note;
}

/* Bytes in what is merged or a zero page. */
static long long merged_bytes(const struct process *process)
{
	if (!process->readable)
		return UNKNOWN;
	return (process->merged + (process->zero == UNKNOWN ? 0 : process->zero)) * page_size;
}

static void process_row(struct line *line, const struct process *process, int width)
{
	add(line, "%7d %-15.15s", process->pid, process->command);
	if (is_wide(width)) {
		add_mib(line, 9, process->rss * page_size);
		add_mib(line, 9, merged_bytes(process));
	}
	add_mib(line, 9, process->saved);
	add_mib(line, 7, process->cost);
	add_mib(line, 9, process->profit);
	add(line, "  %s", note_of(process));
}

enum { HEADER_LINES = 6 };

static void header(struct line *lines, int width, bool utf8)
{
	memset(lines, 0, HEADER_LINES * sizeof(*lines));
	state_line(&lines[0]);
	saved_line(&lines[1]);
	pages_line(&lines[2]);
	ksmd_line(&lines[3]);
	history_line(&lines[4], width, utf8);
	count_line(&lines[5]);
}

static void print_batch(void)
{
	struct line lines[HEADER_LINES], line;
	bool utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	size_t i;

	header(lines, 80, utf8);
	for (i = 0; i < HEADER_LINES; i++)
		puts(lines[i].text);
	memset(&line, 0, sizeof(line));
	title_row(&line, INT_MAX);
	printf("\n%s\n", line.text);
	for (i = 0; i < table.count; i++) {
		if (!shown(&table.row[i]))
			continue;
		memset(&line, 0, sizeof(line));
		process_row(&line, &table.row[i], INT_MAX);
		puts(line.text);
	}
}

static void json_number(const char *name, long long value)
{
	if (value == UNKNOWN)
		printf("\"%s\":null,", name);
	else
		printf("\"%s\":%lld,", name, value);
}

static void json_rate(const char *name, double value)
{
	if (value < 0)
		printf("\"%s\":null,", name);
	else
		printf("\"%s\":%.2f,", name, value);
}

/* The name is printable by now; these two have a meaning of their own. */
static void json_text(const char *name, const char *text, const char *behind)
{
	printf("\"%s\":\"", name);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	printf("\"%s", behind);
}

static void json_process(const struct process *process)
{
	json_number("pid", process->pid);
	json_text("command", process->command, ",");
	json_number("rss_bytes", process->rss * page_size);
	json_number("known_pages", process->known);
	json_number("merged_pages", process->merged);
	json_number("zero_pages", process->zero);
	json_number("kernel_profit_bytes", process->kernel_profit);
	json_number("saved_bytes", process->saved);
	json_number("cost_bytes", process->cost);
	json_number("profit_bytes", process->profit);
	json_text("state", states[process->state].word, ",");
	json_text("note", note_of(process), "");
}

static void print_json(void)
{
	const char *comma = "";
	size_t i;

	putchar('{');
	json_number("time", time(NULL));
	for (i = 0; i < NR_FIGURES; i++)
		json_number(figure_names[i], now.figure[i]);
	json_text("advisor_mode", now.advisor, ",");
	json_number("saved_bytes", machine_saved());
	json_number("cost_bytes", machine_cost());
	json_number("ksmd_pid", now.ksmd_pid);
	json_rate("ksmd_seconds", now.ksmd_ticks == UNKNOWN ? -1 :
		  (double)now.ksmd_ticks / ticks_per_second);
	json_rate("ksmd_percent", ksmd_percent());
	printf("\"processes\":[");
	for (i = 0; i < table.count; i++) {
		if (!shown(&table.row[i]))
			continue;
		printf("%s{", comma);
		json_process(&table.row[i]);
		putchar('}');
		comma = ",";
	}
	printf("]}\n");
}

static void ask_end(int signal)
{
	(void)signal;
	__atomic_store_n(&end_asked, 1, __ATOMIC_RELAXED);
}

static bool at_end(void)
{
	return __atomic_load_n(&end_asked, __ATOMIC_RELAXED);
}

static void end_on_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = ask_end };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
}

static double seconds_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void pause_for(double seconds)
{
	struct timespec time = { .tv_sec = seconds };

	time.tv_nsec = (seconds - time.tv_sec) * 1e9;
	nanosleep(&time, NULL);
}

static void run_plain(void)
{
	long i;

	for (i = 0; !at_end(); i++) {
		if (i && !want.json)
			putchar('\n');
		sort_table();
		if (want.json)
			print_json();
		else
			print_batch();
		if (fflush(stdout) || ferror(stdout))
			die(EXIT_FAILURE, "cannot write the output: %s", strerror(errno));
		if (want.count && i + 1 >= want.count)
			break;
		pause_for(want.interval);
		if (!at_end())
			sample();
	}
}

/* What a person at the terminal has chosen, beside what is in want. */
struct view {
	bool utf8, paused, help, quit;
	int top;		/* rows scrolled out */
};

static int rows_shown(void)
{
	size_t i;
	int count = 0;

	for (i = 0; i < table.count; i++)
		count += shown(&table.row[i]);
	return count;
}

/* Only the history line may have more bytes than columns, and it fits. */
static void put_line(int y, const char *text, int attributes)
{
	bool ascii = true;
	const char *c;

	for (c = text; *c; c++)
		ascii = ascii && !(*c & 0x80);
	attron(attributes);
	if (ascii)
		mvaddnstr(y, 0, text, COLS);
	else
		mvaddstr(y, 0, text);
	attroff(attributes);
}

static void draw_help(void)
{
	int i, lines = ARRAY_SIZE(help_lines);

	for (i = 0; i < lines && i < LINES - 1; i++)
		put_line(i, help_lines[i], A_NORMAL);
	put_line(LINES - 1, "any key goes back", A_REVERSE);
}

static void draw_rows(const struct view *view, int y)
{
	struct line line;
	int row = 0;
	size_t i;

	for (i = 0; i < table.count && y < LINES; i++) {
		if (!shown(&table.row[i]) || row++ < view->top)
			continue;
		memset(&line, 0, sizeof(line));
		process_row(&line, &table.row[i], COLS);
		put_line(y++, line.text, table.row[i].state == MERGING ? A_BOLD : A_NORMAL);
	}
}

/* The first line says how it goes on, the last of the header may be missed. */
static void draw_table(const struct view *view)
{
	struct line lines[HEADER_LINES], line = { .len = 0 };
	int i, y = 0, room = LINES >= 12 ? HEADER_LINES : LINES >= 5 ? 2 : 1;

	header(lines, COLS, view->utf8);
	if (view->paused)
		add(&lines[0], "  PAUSED");
	for (i = 0; i < room && y < LINES; i++)
		put_line(y++, lines[i].text, A_NORMAL);
	title_row(&line, COLS);
	add(&line, " (by %s; h: help; every %.1f s)", key_names[want.sort], want.interval);
	if (y < LINES) {
		put_line(y, line.text, A_REVERSE);
		mvchgat(y++, 0, -1, A_REVERSE, 0, NULL);
	}
	draw_rows(view, y);
}

static void draw(struct view *view)
{
	int last = rows_shown() - 1;

	if (view->top > last)
		view->top = last;
	if (view->top < 0)
		view->top = 0;
	erase();
	if (view->help)
		draw_help();
	else
		draw_table(view);
	refresh();
}

static void scroll_by_key(struct view *view, int key)
{
	int page = LINES - HEADER_LINES - 1;

	if (page < 1)
		page = 1;
	switch (key) {
	case KEY_UP:
	case 'k':
		view->top--;
		break;
	case KEY_DOWN:
	case 'j':
		view->top++;
		break;
	case KEY_PPAGE:
		view->top -= page;
		break;
	case KEY_NPAGE:
		view->top += page;
		break;
	case KEY_HOME:
		view->top = 0;
		break;
	case KEY_END:
		view->top = rows_shown() - page;
		break;
	}
}

static void obey(struct view *view, int key)
{
	const char *letter = key > 0 && key < 128 ? strchr(key_letters, key) : NULL;

	if (view->help && key != KEY_RESIZE) {
		view->help = false;
		view->quit = key == 'q';
	} else if (letter) {
		want.sort = letter - key_letters;
		view->top = 0;
	} else if (key == 'q') {
		view->quit = true;
	} else if (key == 'h' || key == '?') {
		view->help = true;
	} else if (key == ' ') {
		view->paused = !view->paused;
	} else if (key == 'R') {
		want.reverse = !want.reverse;
	} else if (key == 'a') {
		want.merging_only = !want.merging_only;
	} else if (key == '+' && want.interval > 0.2) {
		want.interval /= 2;
	} else if (key == '-' && want.interval < 1800) {
		want.interval *= 2;
	} else {
		scroll_by_key(view, key);
	}
}

/* Keys are obeyed at once, until it is time to look again. */
static void wait_for_keys(struct view *view)
{
	double began = seconds_now(), left;
	int key;

	while (!at_end() && !view->quit) {
		left = began + want.interval - seconds_now();
		if (left <= 0 && !view->paused)
			return;
		timeout(view->paused || left > 1 ? 1000 : (int)(left * 1000) + 1);
		key = getch();
		if (key == ERR)
			continue;
		obey(view, key);
		sort_table();
		draw(view);
	}
}

static bool begin_screen(void)
{
	SCREEN *screen = newterm(NULL, stdout, stdin);

	if (!screen)
		return false;
	set_term(screen);
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	return true;
}

static void run_screen(void)
{
	struct view view = { .utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8") };
	const char *term = getenv("TERM");
	long looks = 0;

	if (!begin_screen())
		die(EXIT_FAILURE,
		    "TERM is \"%s\", which is not known here; set it to one that is, or use --batch",
		    term ? term : "");
	/* A program that dies gives the terminal back. */
	atexit((void (*)(void))endwin);
	while (!at_end() && !view.quit) {
		sort_table();
		draw(&view);
		wait_for_keys(&view);
		if (want.count && ++looks >= want.count)
			break;
		if (!at_end() && !view.quit)
			sample();
	}
}

static int bad_usage(const char *format, const char *what)
{
	fprintf(stderr, "ksmtop: ");
	fprintf(stderr, format, what);
	fprintf(stderr, "\nTry 'ksmtop --help'.\n");
	exit(EXIT_USAGE);
}

static void read_interval(const char *text)
{
	char *end;

	want.interval = strtod(text, &end);
	if (end == text || *end || !(want.interval >= 0.1 && want.interval <= 3600))
		bad_usage("--interval takes seconds from 0.1 to 3600, and %s is not that", text);
}

static void read_count(const char *text)
{
	char *end;

	errno = 0;
	want.count = strtol(text, &end, 10);
	if (end == text || *end || errno || want.count < 0)
		bad_usage("--count takes a number from 0 on, and %s is not that", text);
}

static void read_sort(const char *text)
{
	int key;

	for (key = 0; key < NR_KEYS; key++) {
		if (!strcmp(text, key_names[key])) {
			want.sort = key;
			return;
		}
	}
	bad_usage("--sort takes saved, merged, cost, profit, rss, pid or command, not %s", text);
}

static void read_pids(const char *text)
{
	const char *from = text;
	char *end;
	long pid;

	do {
		errno = 0;
		pid = strtol(from, &end, 10);
		if (end == from || (*end && *end != ',') || errno || pid < 1 || pid > INT_MAX)
			bad_usage("--pid takes process ids with commas between, and %s is not that",
				  text);
		want.pids = grow(want.pids, (want.nr_pids + 1) * sizeof(*want.pids));
		want.pids[want.nr_pids++] = pid;
		from = end + 1;
	} while (*end);
}

static void print_and_exit(const char *text)
{
	if (fputs(text, stdout) == EOF || fflush(stdout))
		die(EXIT_FAILURE, "cannot write the output: %s", strerror(errno));
	exit(EXIT_SUCCESS);
}

static void read_option(int option)
{
	switch (option) {
	case 'b':
		want.batch = true;
		break;
	case 'j':
		want.json = true;
		break;
	case 'd':
		read_interval(optarg);
		break;
	case 'n':
		read_count(optarg);
		break;
	case 's':
		read_sort(optarg);
		break;
	case 'r':
		want.reverse = true;
		break;
	case 'p':
		read_pids(optarg);
		break;
	case 'm':
		want.merging_only = true;
		break;
	case 'R':
		want.root = optarg;
		break;
	case 'h':
		print_and_exit(usage_text);
		break;
	case 'V':
		print_and_exit("ksmtop " VERSION "\n");
		break;
	default:
		fprintf(stderr, "Try 'ksmtop --help'.\n");
		exit(EXIT_USAGE);
	}
}

static void read_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "batch", no_argument, NULL, 'b' },
		{ "json", no_argument, NULL, 'j' },
		{ "interval", required_argument, NULL, 'd' },
		{ "count", required_argument, NULL, 'n' },
		{ "sort", required_argument, NULL, 's' },
		{ "reverse", no_argument, NULL, 'r' },
		{ "pid", required_argument, NULL, 'p' },
		{ "merging", no_argument, NULL, 'm' },
		{ "root", required_argument, NULL, 'R' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ }
	};
	int option;

	while ((option = getopt_long(argc, argv, "bjd:n:s:rp:mhV", options, NULL)) != -1)
		read_option(option);
	if (argv[optind])
		bad_usage("there is no argument %s to take", argv[optind]);
	if (strlen(want.root) > PATH_MAX / 2)
		bad_usage("the path given to --root is too long%s", "");
}

/* What is missing, where it is not there, decides what is to be done. */
static void require_ksm(void)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/sys/kernel/mm/ksm", want.root);
	if (!access(path, F_OK))
		return;
	snprintf(path, sizeof(path), "%s/sys/kernel", want.root);
	if (access(path, F_OK))
		die(EXIT_FAILURE, "there is no %s: mount sysfs on %s/sys", path, want.root);
	die(EXIT_FAILURE,
	    "this kernel has no KSM (there is no %s/mm/ksm); boot one built with CONFIG_KSM",
	    path);
}

static void require_pids(void)
{
	char path[PATH_MAX];
	size_t i;

	for (i = 0; i < want.nr_pids; i++) {
		snprintf(path, sizeof(path), "%s/proc/%d", want.root, want.pids[i]);
		if (access(path, F_OK))
			die(EXIT_FAILURE, "there is no process %d", want.pids[i]);
	}
}

int main(int argc, char **argv)
{
	bool plain;

	setlocale(LC_CTYPE, "");
	page_size = sysconf(_SC_PAGESIZE);
	ticks_per_second = sysconf(_SC_CLK_TCK);
	read_options(argc, argv);
	plain = want.batch || want.json || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO);
	if (want.count < 0)
		want.count = plain ? 1 : 0;
	require_ksm();
	require_pids();
	end_on_signals();
	sample();
	if (plain)
		run_plain();
	else
		run_screen();
	free(table.row);
	free(want.pids);
	return EXIT_SUCCESS;
}
