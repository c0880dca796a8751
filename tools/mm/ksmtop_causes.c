// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - read what may keep pages of a process from being merged
 *
 * /proc/PID/smaps tells how memory is mapped, /proc/PID/status how much of it is
 * pinned. /sys/kernel/debug/ksm/processes has what ksmd found; not every kernel
 * has it, and only root can read it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksmtop.h"

#define AT_SECURE	23	/* in /proc/PID/auxv */
#define MAX_COLUMNS	32

/**
 * has_merged() - whether pages of a process are merged
 * @process: the process
 *
 * Return: true if at least one page is
 */
bool has_merged(const struct process *process)
{
	return process->merged > 0 || process->zero > 0;
}

/**
 * has_few_merged() - whether it is worth telling why so little is merged
 * @process: the process
 *
 * A guest with shared memory has a few private pages that can merge.
 *
 * Return: true if less than a sixteenth of its memory is merged
 */
bool has_few_merged(const struct process *process)
{
	return !has_merged(process) || (process->merged + process->zero) * 16 < process->rss;
}

/* Reads "KEY NUMBER kB". */
static bool take_kib(const char *line, const char *key, long long *value)
{
	size_t len = strlen(key);

	if (strncmp(line, key, len))
		return false;
	*value = atoll(line + len);
	return true;
}

static void begin_vma(struct vma *vma, const char *line, unsigned long long start,
		      unsigned long long end, const char *mode)
{
	int name = 0;

	*vma = (struct vma) { .start = start, .end = end, .anonymous_kib = UNKNOWN };
	vma->shared = mode[3] == 's';
	if (sscanf(line, "%*s %*s %*s %*s %*s %n", &name) == 0 && name)
		snprintf(vma->name, sizeof(vma->name), "%.*s",
			 (int)strcspn(line + name, "\n"), line + name);
	make_printable(vma->name);
}

static void take_smaps_line(struct vma *vma, const char *line)
{
	long long kib;

	if (take_kib(line, "Rss:", &vma->rss_kib) ||
	    take_kib(line, "Anonymous:", &vma->anonymous_kib) ||
	    take_kib(line, "KSM:", &vma->merged_kib) ||
	    take_kib(line, "Swap:", &vma->swapped_kib) ||
	    take_kib(line, "AnonHugePages:", &vma->huge_kib))
		return;
	if (take_kib(line, "Shared_Clean:", &kib) || take_kib(line, "Shared_Dirty:", &kib))
		vma->shared_kib += kib;
	if (take_kib(line, "Shared_Hugetlb:", &kib) || take_kib(line, "Private_Hugetlb:", &kib))
		vma->hugetlb_kib += kib;
}

/**
 * read_vmas() - read the VMAs of a process from smaps
 * @root: directory that holds proc
 * @pid: the process
 * @take: is called for each VMA
 * @data: is passed to @take
 *
 * Return: 0; the error number if smaps cannot be read; or ENODATA if it is empty
 */
int read_vmas(const char *root, pid_t pid, void (*take)(const struct vma *vma, void *data),
	      void *data)
{
	unsigned long long start, end;
	struct vma vma = { .start = 0 };
	char line[PATH_MAX + 128], mode[8];
	int err = ENODATA;
	FILE *file;

	file = open_file(root, "/proc/%d/smaps", pid);
	if (!file)
		return errno;
	errno = 0;
	while (fgets(line, sizeof(line), file)) {
		err = 0;
		if (sscanf(line, "%llx-%llx %7s", &start, &end, mode) == 3) {
			begin_vma(&vma, line, start, end, mode);
		} else if (!strncmp(line, "VmFlags:", 8)) {
			/* This is the last line of a VMA. */
			vma.hugetlb = vma.hugetlb_kib || strstr(line, " ht");
			vma.marked = strstr(line, " mg");
			take(&vma, data);
		} else {
			take_smaps_line(&vma, line);
		}
	}
	if (ferror(file))
		err = errno;
	fclose(file);
	return err;
}

/* Merged pages count as shared, and so do pages of files, at most all of them. */
static long long forked_kib(const struct vma *vma, long long anonymous_kib)
{
	long long kib = vma->shared_kib - vma->merged_kib - (vma->rss_kib - anonymous_kib);

	return kib > 0 ? kib : 0;
}

static void add_vma(const struct vma *vma, void *data)
{
	struct causes *causes = data;
	/* Private pages of a file, such as those of programs, are not merged. */
	long long kib = vma->anonymous_kib == UNKNOWN ? vma->rss_kib : vma->anonymous_kib;

	if (vma->hugetlb) {
		causes->hugetlb_kib += vma->hugetlb_kib;
		return;
	}
	if (vma->shared) {
		causes->shared_kib += vma->rss_kib + vma->swapped_kib;
		return;
	}
	causes->private_kib += kib + vma->swapped_kib;
	if (!vma->marked)
		return;
	causes->mergeable = true;
	causes->mergeable_kib += kib;
	causes->forked_kib += forked_kib(vma, kib);
	causes->swapped_kib += vma->swapped_kib;
	causes->huge_kib += vma->huge_kib;
}

static void read_pins(struct causes *causes, const char *root, pid_t pid)
{
	char line[256];
	FILE *file;

	file = open_file(root, "/proc/%d/status", pid);
	if (!file)
		return;
	while (fgets(line, sizeof(line), file))
		if (!take_kib(line, "VmPin:", &causes->pinned_kib))
			take_kib(line, "VmLck:", &causes->locked_kib);
	fclose(file);
}

/* VFIO has a file for each container, group and device, iommufd has one. */
static bool opened_vfio(const char *root, pid_t pid)
{
	char path[PATH_MAX], link[64];
	struct dirent *entry;
	bool found = false;
	ssize_t len;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/proc/%d/fd", root, pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (!found && (entry = readdir(dir))) {
		len = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);
		link[len < 0 ? 0 : len] = '\0';
		found = !strncmp(link, "/dev/vfio/", 10) || !strcmp(link, "/dev/iommu") ||
			!strncmp(link, "anon_inode:[vfio", 16);
	}
	closedir(dir);
	return found;
}

static bool has_prctl(const char *root, pid_t pid)
{
	char text[4096];

	return read_text(open_file(root, "/proc/%d/ksm_stat", pid), text, sizeof(text)) &&
	       strstr(text, "ksm_merge_any: yes");
}

/* An exec that gained privilege has ended the setting of prctl(). */
static bool gained_privilege(const char *root, pid_t pid)
{
	unsigned long pairs[128];
	size_t i, len;

	len = read_text(open_file(root, "/proc/%d/auxv", pid), (char *)pairs, sizeof(pairs));
	for (i = 0; (i + 2) * sizeof(*pairs) <= len; i += 2)
		if (pairs[i] == AT_SECURE)
			return pairs[i + 1];
	return false;
}

/**
 * read_causes() - read what may keep pages of a process from being merged
 * @causes: is overwritten, except for what read_skips() reads
 * @root: directory that holds proc
 * @pid: the process
 * @parent: its parent
 */
void read_causes(struct causes *causes, const char *root, pid_t pid, pid_t parent)
{
	*causes = (struct causes) { .readable = false };
	causes->readable = !read_vmas(root, pid, add_vma, causes);
	read_pins(causes, root, pid);
	causes->vfio = opened_vfio(root, pid);
	causes->forked_before = has_prctl(root, parent) && !gained_privilege(root, pid);
}

/* Returns the number of words, which are separated by spaces. */
static int split(char *line, char **words)
{
	char *rest = line, *word;
	int count = 0;

	while (count < MAX_COLUMNS && (word = strtok_r(rest, " \t\n", &rest)))
		words[count++] = word;
	return count;
}

/* Stores a row under the titles of the header. */
static void take_skips(struct skips *skips, char **titles, int columns, char **words)
{
	int i;

	*skips = (struct skips) { .known = true };
	for (i = 1; i < columns; i++) {
		if (!strcmp(titles[i], "shared"))
			skips->shared = atoll(words[i]);
		else if (!strcmp(titles[i], "unshared"))
			skips->unshared = atoll(words[i]);
		else if (!strcmp(titles[i], "volatile"))
			skips->changing = atoll(words[i]);
		else if (!strcmp(titles[i], "reason") && strcmp(words[i], "-"))
			snprintf(skips->reason, sizeof(skips->reason), "%s", words[i]);
	}
}

static struct process *find_pid(struct process_table *table, pid_t pid)
{
	size_t i;

	for (i = 0; i < table->count; i++)
		if (table->row[i].pid == pid)
			return &table->row[i];
	return NULL;
}

/* The kernel counts pages for this file, so it is not read for every sample. */
static bool needs_skips(const struct sample *sample)
{
	size_t i;

	for (i = 0; i < sample->table.count; i++)
		if (sample->table.row[i].causes.read_at == sample->machine.uptime &&
		    has_few_merged(&sample->table.row[i]))
			return true;
	return false;
}

/**
 * read_skips() - read why ksmd skipped pages
 * @sample: the causes of its processes are completed, if they were read now
 * @root: directory that holds sys
 */
void read_skips(struct sample *sample, const char *root)
{
	char header[512], line[512], *titles[MAX_COLUMNS], *words[MAX_COLUMNS];
	struct process *process;
	int columns, count;
	FILE *file;

	if (!needs_skips(sample))
		return;
	file = open_file(root, "/sys/kernel/debug/ksm/processes");
	if (!file)
		return;
	columns = fgets(header, sizeof(header), file) ? split(header, titles) : 0;
	while (columns && fgets(line, sizeof(line), file)) {
		count = split(line, words);
		process = count == columns ? find_pid(&sample->table, atoi(words[0])) : NULL;
		if (process && process->causes.read_at == sample->machine.uptime)
			take_skips(&process->causes.skips, titles, columns, words);
	}
	fclose(file);
}
