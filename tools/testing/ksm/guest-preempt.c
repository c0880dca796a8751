// SPDX-License-Identifier: GPL-2.0
/* For how long ksmd runs without a chance to be preempted, as preempt.c measures it. */

#include "guest-bench.h"

static void longest_of_passes(const char *name)
{
	mark_begin();
	set_knob("run", 1);
	passes(5);
	mark_end();
	per(name, 1);
}

static void bench_preempt_unique(const char *name)
{
	map_groups(40000, 1);
	longest_of_passes(name);
}

static void bench_preempt_thp(const char *name)
{
	map_huge_groups(40960, 1);
	longest_of_passes(name);
}

static void bench_preempt_tail(const char *name)
{
	map_tail(20000);
	longest_of_passes(name);
}

static void bench_preempt_tail_thp(const char *name)
{
	map_huge_tail(20480);
	longest_of_passes(name);
}

/* Until all is merged. */
static void longest_until_merged(const char *name, unsigned long nr, unsigned long group)
{
	map_groups(nr, group);
	set_knob("max_page_sharing", nr);
	mark_begin();
	set_knob("run", 1);
	wait_for_sharing(nr - nr / group);
	mark_end();
	per(name, 1);
}

static void bench_preempt_groups(const char *name)
{
	longest_until_merged(name, 20000, 4);
}

static void bench_preempt_same(const char *name)
{
	longest_until_merged(name, 20000, 20000);
}

const struct workload preempt_workloads[] = {
	{ "preempt-unique", bench_preempt_unique },
	{ "preempt-thp", bench_preempt_thp },
	{ "preempt-tail", bench_preempt_tail },
	{ "preempt-tail-thp", bench_preempt_tail_thp },
	{ "preempt-groups", bench_preempt_groups },
	{ "preempt-same", bench_preempt_same },
	{ "preempt-portable", bench_preempt_same },
	{ }
};
