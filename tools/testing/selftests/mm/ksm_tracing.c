// SPDX-License-Identifier: GPL-2.0
/*
 * Events of KSM in a trace instance; see ksm_tracing.h.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ksm_common.h"
#include "ksm_tracing.h"

#define PATH	256

static char instance[PATH / 2];

const char *tracing_root(void)
{
	static const char *const roots[] = {
		"/sys/kernel/tracing", "/sys/kernel/debug/tracing"
	};
	unsigned int i;
	char path[PATH];

	for (i = 0; i < ARRAY_SIZE(roots); i++) {
		snprintf(path, sizeof(path), "%s/events/ksm", roots[i]);
		if (!access(path, F_OK))
			return roots[i];
	}
	ksm_skip("tracefs is not mounted or has no KSM events");
}

/* rmdir() removes an instance with all of its files. */
void tracing_end(void)
{
	char path[PATH];

	snprintf(path, sizeof(path), "%s/events/ksm/enable", instance);
	ksm_write_file(path, "0");
	rmdir(instance);
}

void tracing_start(const char *event)
{
	char path[PATH];

	snprintf(instance, sizeof(instance), "%s/instances/ksm_selftest", tracing_root());
	if (!access(instance, F_OK))
		tracing_end();
	if (mkdir(instance, 0755))
		ksm_skip("no trace instance can be made: %s", strerror(errno));
	snprintf(path, sizeof(path), "%s/events/ksm/%s/enable", instance, event);
	if (ksm_write_file(path, "1"))
		ksm_fail("the event %s cannot be enabled", event);
}

unsigned int tracing_count(const char *event, const char *words)
{
	char path[PATH], line[1024], name[64];
	unsigned int count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/trace", instance);
	snprintf(name, sizeof(name), " %s:", event);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		count += line[0] != '#' && strstr(line, name) && strstr(line, words);
	if (file)
		fclose(file);
	return count;
}
