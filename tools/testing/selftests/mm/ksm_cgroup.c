// SPDX-License-Identifier: GPL-2.0
/*
 * Memory cgroups of a test; see ksm_cgroup.h.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ksm_cgroup.h"
#include "ksm_common.h"

#define PATH	256

void cgroup_path(char *path, size_t size, const char *cgroup, const char *file)
{
	snprintf(path, size, KSM_CGROUPS "%s/%s", cgroup, file);
}

int cgroup_try_write(const char *cgroup, const char *file, const char *text)
{
	char path[PATH];

	cgroup_path(path, sizeof(path), cgroup, file);
	return ksm_write_file(path, text);
}

void cgroup_write(const char *cgroup, const char *file, const char *text)
{
	int err = cgroup_try_write(cgroup, file, text);

	if (err)
		ksm_fail("writing \"%s\" to %s of %s: %d", text, file, cgroup, err);
}

long cgroup_read(const char *cgroup, const char *file)
{
	char path[PATH], text[KSM_TEXT] = "";

	cgroup_path(path, sizeof(path), cgroup, file);
	ksm_check(ksm_read_file(path, text, sizeof(text)) > 0, file);
	return strtol(text, NULL, 10);
}

long cgroup_stat(const char *cgroup, const char *key)
{
	char path[PATH], value[KSM_TEXT];

	cgroup_path(path, sizeof(path), cgroup, "memory.ksm.stat");
	if (!ksm_field(path, key, value, sizeof(value)))
		ksm_fail("memory.ksm.stat of %s has no %s", cgroup, key);
	return strtol(value, NULL, 10);
}

void cgroup_make(const char *cgroup)
{
	char path[PATH];

	cgroup_path(path, sizeof(path), cgroup, "");
	if (mkdir(path, 0755))
		ksm_fail("making %s: %s", path, strerror(errno));
}

void cgroup_divide(const char *cgroup)
{
	cgroup_write(cgroup, "cgroup.subtree_control", "+memory");
}

int cgroup_remove(const char *cgroup)
{
	char path[PATH];

	cgroup_path(path, sizeof(path), cgroup, "");
	return rmdir(path) ? -errno : 0;
}

void cgroup_move(pid_t pid, const char *cgroup)
{
	char text[KSM_TEXT];

	snprintf(text, sizeof(text), "%d", pid);
	cgroup_write(cgroup, "cgroup.procs", text);
}

static void remove_tree(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char below[2 * PATH];

	while (dir && (entry = readdir(dir))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		snprintf(below, sizeof(below), "%s%s/", path, entry->d_name);
		remove_tree(below);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

/* Their processes have been killed. */
void cgroup_remove_all(void)
{
	remove_tree(KSM_CGROUPS);
}

void cgroup_begin(void)
{
	cgroup_remove_all();
	ksm_write_file(CGROUP_ROOT "cgroup.subtree_control", "+memory");
	if (mkdir(KSM_CGROUPS, 0755) ||
	    ksm_write_file(KSM_CGROUPS "cgroup.subtree_control", "+memory"))
		ksm_skip("no memory cgroup can be made");
}

void cgroup_begin_domains(void)
{
	cgroup_begin();
	if (ksm_try("merge_across_cgroups", "0"))
		ksm_skip("this kernel has no merge_across_cgroups");
}

void cgroup_restore(void)
{
	ksm_try("run", "2");
	ksm_try("merge_across_cgroups", "1");
	ksm_try("run", ksm_initial("run"));
	cgroup_remove_all();
}
