// SPDX-License-Identifier: GPL-2.0
/*
 * Measures the costs of KSM in a booted kernel.  It uses the public interface
 * only, so that the same program runs on any kernel.
 *
 * Under QEMU's -icount, a nanosecond is an instruction: of the whole machine by
 * the monotonic clock, and of ksmd by its schedstat.
 *
 *	guest-bench			lists the workloads
 *	guest-bench WORKLOAD		runs one.  It prints "RESULT row value" and,
 *					for some workloads, "CURVE workload
 *					instructions pages"; or "PER row number
 *					[counter]": a QEMU plugin counts, and the
 *					result is the count divided by the number.
 */

#include <stdio.h>
#include <string.h>

#include "guest-bench.h"

static const struct workload *const lists[] = {
	scan_workloads,
	merge_workloads,
	now_workloads,
	fleet_workloads,
	lock_workloads,
	line_workloads,
	changed_workloads,
	batch_workloads,
	preempt_workloads,
	flush_workloads,
	kvm_workloads,
	share_workloads,
	thp_workloads,
	disk_workloads,
	domain_workloads,
	guess_workloads,
	thread_workloads,
};

#define NR_LISTS	(sizeof(lists) / sizeof(*lists))

static const struct workload *find_workload(const char *name)
{
	const struct workload *workload;
	unsigned int i;

	for (i = 0; i < NR_LISTS; i++)
		for (workload = lists[i]; workload->name; workload++)
			if (!strcmp(workload->name, name))
				return workload;
	return NULL;
}

static void print_workloads(void)
{
	const struct workload *workload;
	unsigned int i;

	for (i = 0; i < NR_LISTS; i++)
		for (workload = lists[i]; workload->name; workload++)
			printf("%s\n", workload->name);
}

int main(int argc, char **argv)
{
	const struct workload *workload;

	if (argc == 1) {
		print_workloads();
		return 0;
	}
	workload = find_workload(argv[1]);
	if (!workload)
		die("there is no workload %s; without an argument, all are listed", argv[1]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	set_knob("run", 0);
	set_knob("pages_to_scan", 10000);
	set_knob("sleep_millisecs", 1);
	set_knob("smart_scan", 0);
	workload->run(workload->name);
	return 0;
}
