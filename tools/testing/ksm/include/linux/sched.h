/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_SCHED_H
#define _KSM_TEST_LINUX_SCHED_H

/* Wherever the code under test may lose the CPU, the rest of mm may act. */
void shim_race(void);

struct task_struct {
	int nice;
};

extern struct task_struct ksmd;

#define current		(&ksmd)

static inline int task_nice(const struct task_struct *task)
{
	return task->nice;
}

static inline void set_user_nice(struct task_struct *task, long nice)
{
	task->nice = nice;
}

#define cond_resched()	shim_race()
#define cpu_relax()	shim_race()

#endif /* _KSM_TEST_LINUX_SCHED_H */
