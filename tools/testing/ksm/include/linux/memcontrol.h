/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_MEMCONTROL_H
#define _KSM_TEST_LINUX_MEMCONTROL_H

#include <linux/mm.h>

/**
 * struct mem_cgroup - a group of processes
 * @references: references to it
 * @charged: bytes charged to it
 * @full: it is at its limit
 */
struct mem_cgroup {
	long references;
	long charged;
	bool full;
};

struct mem_cgroup *get_mem_cgroup_from_mm(struct mm_struct *mm);
void mem_cgroup_put(struct mem_cgroup *memcg);

#endif /* _KSM_TEST_LINUX_MEMCONTROL_H */
