/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_SCHED_MM_H
#define _KSM_TEST_LINUX_SCHED_MM_H

struct mem_cgroup;

struct mem_cgroup *set_active_memcg(struct mem_cgroup *memcg);

#endif /* _KSM_TEST_LINUX_SCHED_MM_H */
