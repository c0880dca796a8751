// SPDX-License-Identifier: GPL-2.0
/*
 * The cgroups of ksm_torture. Processes move between them while cgroups are made,
 * nested and removed, and while memory.ksm.group and memory.ksm.merge are written. A
 * census checks that no shared page is mapped by processes of two domains.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ksm_common.h"
#include "ksm_torture.h"

#define CGROUP		"/sys/fs/cgroup/"
#define DOMAINS		"ksm_torture_domains"
/* A longer mapping is sparse, and is left out. */
#define MOST_PAGES	(64UL << 10)
/* Bits of /proc/PID/pagemap. */
#define PM_IS_FILE	BIT_ULL(61)
#define PM_IS_EXCLUSIVE	BIT_ULL(56)

/* Processes stay in these, which limit their memory. */
static const char *const limited[] = { "ksm_torture", "ksm_torture_bombs" };

/* Parents first. */
static const char *const cgroups[] = {
	DOMAINS "/a", DOMAINS "/b", DOMAINS "/c", DOMAINS "/g", DOMAINS "/g/x",
	DOMAINS "/g/y", DOMAINS "/g/h", DOMAINS "/g/h/z",
};

/* A cgroup with such children gets no processes. */
static const char *const parents[] = { DOMAINS "/g", DOMAINS "/g/h" };

/**
 * struct mapping - a PTE that maps an anonymous page
 * @pfn: the page
 * @domain: ksm_domain of the process, or its cgroup while there is one domain
 * @pid: the process
 */
struct mapping {
	unsigned long pfn;
	long domain;
	pid_t pid;
};

struct mappings {
	struct mapping *at;
	size_t nr;
	size_t capacity;
};

/* Cgroups. */

static int write_cgroup(const char *cgroup, const char *file, const char *text)
{
	char path[192];

	snprintf(path, sizeof(path), CGROUP "%s/%s", cgroup, file);
	return ksm_write_file(path, text);
}

static const char *any_cgroup(struct dice *from)
{
	return cgroups[roll(from, ARRAY_SIZE(cgroups))];
}

/* With the limited ones and the root. */
static const char *any_cgroup_or_limited(struct dice *from)
{
	if (chance(from, 10))
		return DOMAINS;
	return chance(from, 20) ? limited[roll(from, ARRAY_SIZE(limited))] : any_cgroup(from);
}

/* "0::/" and the path of the cgroup. */
static bool cgroup_line(pid_t pid, char *line, size_t size)
{
	char path[64];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	length = ksm_read_file(path, line, size - 1);
	if (length <= 0)
		return false;
	line[length] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return !strncmp(line, "0::/", 4);
}

static bool may_move(pid_t pid)
{
	char line[192];
	unsigned int i;

	if (!cgroup_line(pid, line, sizeof(line)))
		return false;
	for (i = 0; i < ARRAY_SIZE(limited); i++)
		if (!strcmp(line + 4, limited[i]))
			return false;
	return true;
}

static void move(pid_t pid, const char *cgroup)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	if (may_move(pid) && !write_cgroup(cgroup, "cgroup.procs", text))
		torture_count(COUNT_MOVES);
}

/* A process moves itself. */
void op_change_cgroup(struct area *unused)
{
	move(getpid(), any_cgroup(&dice));
}

/* A random process other than the first. */
static pid_t any_process(struct dice *from)
{
	DIR *proc = opendir("/proc");
	unsigned int seen = 0;
	struct dirent *entry;
	pid_t chosen = 0, pid;

	while (proc && (entry = readdir(proc))) {
		pid = atoi(entry->d_name);
		if (pid > 0 && pid != getppid() && getpgid(pid) == getpgrp() &&
		    !roll(from, ++seen))
			chosen = pid;
	}
	if (proc)
		closedir(proc);
	return chosen;
}

static void move_any(struct dice *from)
{
	pid_t pid = any_process(from);

	if (pid)
		move(pid, any_cgroup(from));
}

static void empty_cgroup(const char *cgroup, const char *to)
{
	char path[192];
	FILE *file;
	int pid;

	snprintf(path, sizeof(path), CGROUP "%s/cgroup.procs", cgroup);
	file = fopen(path, "r");
	if (!file)
		return;
	while (fscanf(file, "%d", &pid) == 1)
		move(pid, to);
	fclose(file);
}

static bool is_parent(const char *cgroup)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(parents); i++)
		if (!strcmp(cgroup, parents[i]))
			return true;
	return false;
}

/* Below a cgroup with processes, the new ones have no domains of their own. */
static void make_cgroups(void)
{
	char path[192];
	unsigned int i;

	mkdir(CGROUP DOMAINS, 0755);
	write_cgroup(DOMAINS, "cgroup.subtree_control", "+memory");
	for (i = 0; i < ARRAY_SIZE(cgroups); i++) {
		snprintf(path, sizeof(path), CGROUP "%s", cgroups[i]);
		if (mkdir(path, 0755) || !is_parent(cgroups[i]))
			continue;
		write_cgroup(cgroups[i], "cgroup.subtree_control", "+memory");
	}
}

static bool remove_cgroup(const char *cgroup)
{
	char path[192];

	snprintf(path, sizeof(path), CGROUP "%s", cgroup);
	return !rmdir(path);
}

static void replace_cgroup(struct dice *from)
{
	const char *cgroup = any_cgroup(from);

	empty_cgroup(cgroup, any_cgroup(from));
	if (remove_cgroup(cgroup))
		torture_count(COUNT_REMOVED);
	usleep(roll(from, 50000));
	make_cgroups();
}

static void change_controllers(struct dice *from)
{
	write_cgroup(parents[roll(from, ARRAY_SIZE(parents))], "cgroup.subtree_control",
		     chance(from, 50) ? "+memory" : "-memory");
}

void torture_cgroups(uint64_t seed, enum torture_role role)
{
	struct dice own;

	dice_init(&own, seed, 16);
	for (;;) {
		const unsigned int what = roll(&own, 100);

		__atomic_fetch_add(&torture->role_beats[role], 1, __ATOMIC_RELAXED);
		if (what < 50)
			move_any(&own);
		else if (what < 65)
			write_cgroup(any_cgroup_or_limited(&own), "memory.ksm.group",
				     chance(&own, 50) ? "1" : "0");
		else if (what < 85)
			write_cgroup(any_cgroup_or_limited(&own), "memory.ksm.merge",
				     chance(&own, 40) ? "1" : "0");
		else if (what < 90)
			change_controllers(&own);
		else
			replace_cgroup(&own);
		usleep(roll(&own, 100000));
	}
}

void torture_cgroups_set_up(void)
{
	make_cgroups();
}

/* Called after the processes of the cgroups have exited. */
bool torture_cgroups_remove(char *text, size_t size)
{
	unsigned int i = ARRAY_SIZE(cgroups);

	while (i--)
		remove_cgroup(cgroups[i]);
	if (remove_cgroup(DOMAINS) || errno == ENOENT)
		return true;
	snprintf(text, size, "a cgroup cannot be removed: %s", strerror(errno));
	return false;
}

/* Domains. */

bool torture_has_domains(void)
{
	char text[KSM_TEXT] = "";

	return ksm_read_file("/sys/kernel/mm/ksm/merge_across_cgroups", text,
			     sizeof(text) - 1) > 0 && text[0] == '0';
}

/* Called while nothing is shared. */
void torture_set_domains(bool on)
{
	ksm_try("merge_across_cgroups", on ? "0" : "1");
}

static void add_mapping(struct mappings *all, struct mapping mapping)
{
	if (all->nr == all->capacity) {
		all->capacity = all->capacity ? 2 * all->capacity : 1024;
		all->at = realloc(all->at, all->capacity * sizeof(*all->at));
		if (!all->at)
			torture_fail("no memory for a census");
	}
	all->at[all->nr++] = mapping;
}

/* Only anonymous pages with several mappings. */
static void add_range(struct mappings *all, const struct mapping *process, int pagemap,
		      unsigned long start, unsigned long end)
{
	struct mapping mapping = *process;
	uint64_t entries[512];
	ssize_t size, i;

	for (; start < end; start += size / sizeof(*entries) * psize()) {
		size_t pages = (end - start) / psize();

		if (pages > ARRAY_SIZE(entries))
			pages = ARRAY_SIZE(entries);
		size = pread(pagemap, entries, pages * sizeof(*entries),
			     start / psize() * sizeof(*entries));
		if (size <= 0)
			return;
		for (i = 0; i < size / (ssize_t)sizeof(*entries); i++) {
			if (!PAGEMAP_PRESENT(entries[i]) ||
			    entries[i] & (PM_IS_FILE | PM_IS_EXCLUSIVE))
				continue;
			mapping.pfn = PAGEMAP_PFN(entries[i]);
			add_mapping(all, mapping);
		}
	}
}

static void add_process(struct mappings *all, const struct mapping *process)
{
	unsigned long start, end;
	char path[64], line[512];
	int pagemap;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", process->pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/maps", process->pid);
	maps = fopen(path, "r");
	while (pagemap >= 0 && maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx", &start, &end) == 2 &&
		    end - start <= MOST_PAGES * psize())
			add_range(all, process, pagemap, start, end);
	if (maps)
		fclose(maps);
	close(pagemap);
}

static bool read_domain(struct mapping *process)
{
	char value[32];

	if (!ksm_stat_text(process->pid, "ksm_domain", value, sizeof(value)))
		return false;
	process->domain = strtol(value, NULL, 10);
	return true;
}

/* A cgroup that has been removed has no number. */
static bool read_cgroup(struct mapping *process)
{
	char path[256], line[192];
	struct stat stats;

	if (!cgroup_line(process->pid, line, sizeof(line)))
		return false;
	snprintf(path, sizeof(path), CGROUP "%s", line + 4);
	if (stat(path, &stats))
		return false;
	process->domain = stats.st_ino;
	return true;
}

static void add_processes(struct mappings *all, bool (*read)(struct mapping *process))
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	while (proc && (entry = readdir(proc))) {
		struct mapping process = { .pid = atoi(entry->d_name) };

		if (process.pid > 0 && read(&process))
			add_process(all, &process);
	}
	if (proc)
		closedir(proc);
}

static int compare_mappings(const void *a, const void *b)
{
	const struct mapping *x = a, *y = b;

	return (x->pfn > y->pfn) - (x->pfn < y->pfn);
}

/* After a fork, two domains may map pages that are not shared pages of KSM. */
static bool is_shared(unsigned long pfn)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	uint64_t flags = 0;
	bool read_all = pread(fd, &flags, sizeof(flags), pfn * sizeof(flags)) == sizeof(flags);

	close(fd);
	return read_all && flags & KPF_KSM_BIT && !(flags & KPF_ZERO_PAGE_BIT);
}

/* The first of two mappings of a page in different domains, or NULL. @all is sorted. */
static const struct mapping *find_conflict(const struct mappings *all)
{
	size_t i;

	for (i = 1; i < all->nr; i++)
		if (all->at[i].pfn == all->at[i - 1].pfn &&
		    all->at[i].domain != all->at[i - 1].domain && is_shared(all->at[i].pfn))
			return &all->at[i - 1];
	return NULL;
}

/*
 * All processes are stopped, and ksmd has visited each of them since. So a process that
 * has moved is in its new domain. While there is one domain, pages of several cgroups
 * are found in the same way: this shows that a conflict would be seen.
 */
bool torture_domains_apart(char *text, size_t size)
{
	const bool domains = torture_has_domains();
	const struct mapping *conflict;
	struct mappings all = { };
	bool apart;

	if (!torture->flag_trusted)
		return true;
	add_processes(&all, domains ? read_domain : read_cgroup);
	qsort(all.at, all.nr, sizeof(*all.at), compare_mappings);
	conflict = find_conflict(&all);
	apart = !domains || !conflict;
	if (!apart)
		snprintf(text, size, "pfn %lx is mapped by %d of domain %ld and %d of domain %ld",
			 conflict[0].pfn, conflict[0].pid, conflict[0].domain,
			 conflict[1].pid, conflict[1].domain);
	else if (domains)
		torture_count(COUNT_APART);
	else if (conflict)
		torture_count(COUNT_TOGETHER);
	__atomic_fetch_add(&torture->counts[COUNT_COMPARED], all.nr, __ATOMIC_RELAXED);
	free(all.at);
	return apart;
}
