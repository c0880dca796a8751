// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: ksmd, and what it is told to do.
 */

#include <linux/freezer.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/oom.h>
#include <linux/sched.h>

#define CREATE_TRACE_POINTS
#include <trace/events/ksm.h>

#include "ksm.h"

struct ksm ksm = {
	.lock = __MUTEX_INITIALIZER(ksm.lock),
	.slots_lock = __SPIN_LOCK_UNLOCKED(ksm.slots_lock),
	.slots = LIST_HEAD_INIT(ksm.slots),
	.offline_wait = __WAIT_QUEUE_HEAD_INITIALIZER(ksm.offline_wait),
	.thread_wait = __WAIT_QUEUE_HEAD_INITIALIZER(ksm.thread_wait),
	.sleep_wait = __WAIT_QUEUE_HEAD_INITIALIZER(ksm.sleep_wait),
	.sleep_millisecs = 20,
	.prune_millisecs = 2000,
	.max_page_sharing = 256,
	.merge_across_nodes = true,
	.smart_scan = true,
	.domain = {
		.stable = RB_ROOT,
		.unmapped = LIST_HEAD_INIT(ksm.domain.unmapped),
	},
};

/**
 * ksm_lock - take ksm.lock, once no memory is going offline
 *
 * Context: may sleep.
 */
void ksm_lock(void)
{
	mutex_lock(&ksm.lock);
	while (ksm.offlining) {
		mutex_unlock(&ksm.lock);
		wait_event(ksm.offline_wait, !READ_ONCE(ksm.offlining));
		mutex_lock(&ksm.lock);
	}
}

/**
 * ksm_unlock - release ksm.lock
 */
void ksm_unlock(void)
{
	mutex_unlock(&ksm.lock);
}

static bool ksmd_should_run(void)
{
	return READ_ONCE(ksm.run) == KSM_RUN_MERGE && !ksm_slots_empty();
}

/**
 * ksm_rouse - there is something new to look at: have ksmd wait no longer
 *
 * Context: any.
 */
void ksm_rouse(void)
{
	WRITE_ONCE(ksm.scan.roused, true);
	wake_up_interruptible(&ksm.thread_wait);
	wake_up_interruptible(&ksm.sleep_wait);
}

/*
 * Between two passes there is a pause of a tick at least.  Where there is little
 * to scan, passes would chase each other for nothing; and who changed a page and
 * saw full_scans go up would often have seen the end of a pass that had been at
 * that page before.
 */
static void ksmd_sleep(bool between_passes)
{
	unsigned int millisecs = READ_ONCE(ksm.sleep_millisecs);
	unsigned long pause = msecs_to_jiffies(millisecs);

	if (between_passes && !pause)
		pause = 1;
	wait_event_freezable_timeout(ksm.sleep_wait,
				     millisecs != READ_ONCE(ksm.sleep_millisecs),
				     pause);
}

/* Where nothing is new, passes take a small part of the time only. */
static void ksmd_rest(void)
{
	if (READ_ONCE(ksm.sleep_millisecs))
		wait_event_freezable_timeout(ksm.sleep_wait, READ_ONCE(ksm.scan.roused),
					     msecs_to_jiffies(ksm.scan.rest));
}

static int ksmd(void *unused)
{
	bool between_passes;

	set_freezable();
	set_user_nice(current, ksm.scan.nice);
	while (!kthread_should_stop()) {
		/* Without a pause between batches nothing else would. */
		try_to_freeze();
		ksm_lock();
		if (ksmd_should_run())
			ksm_scan_batch(&ksm.scan, READ_ONCE(ksm.advisor.pages_to_scan));
		between_passes = !ksm.scan.slot;
		ksm_unlock();
		if (ksmd_should_run()) {
			ksmd_sleep(between_passes);
			if (between_passes)
				ksmd_rest();
		} else {
			wait_event_freezable(ksm.thread_wait,
					     ksmd_should_run() || kthread_should_stop());
		}
	}
	return 0;
}

/**
 * ksm_set_run - start ksmd, stop it, or stop it and unmerge everything
 * @run: what to do
 *
 * Unmerging takes as much memory as merging saved: whoever asks for it is the
 * one to be killed where there is not enough.
 *
 * Context: may sleep.
 * Return: 0; -ENOMEM or -ERESTARTSYS where unmerging did not get to its end,
 * and ksmd is stopped then.
 */
int ksm_set_run(enum ksm_run run)
{
	int err = 0;

	ksm_lock();
	if (ksm.run != run) {
		WRITE_ONCE(ksm.run, run);
		if (run == KSM_RUN_UNMERGE) {
			set_current_oom_origin();
			err = ksm_scan_unmerge(&ksm.scan);
			clear_current_oom_origin();
		}
		if (err)
			WRITE_ONCE(ksm.run, KSM_RUN_STOP);
	}
	ksm_unlock();
	if (run == KSM_RUN_MERGE)
		ksm_rouse();
	return err;
}

static int __init ksm_init_tables(void)
{
	int err;

	ksm_fingerprint_init();
	ksm_key_init(&ksm.key);
	ksm_hash_begin();
	ksm.zero = ksm_fingerprint(&ksm.key, page_address(ZERO_PAGE(0)));
	ksm.zero_sample = ksm_sample(&ksm.key, page_address(ZERO_PAGE(0)));
	ksm_hash_end();
	ksm_advisor_init(&ksm.advisor);
	err = ksm_record_init();
	err = err ?: ksm_stable_init();
	err = err ?: ksm_mm_slot_init();
	err = err ?: ksm_scan_init(&ksm.scan);
	err = err ?: ksm_unstable_init(&ksm.domain.unstable);
	if (!err)
		ksm_stable_renew_met(&ksm.domain);
	return err;
}

/* Without memory this early the machine won't get far: nothing is undone. */
static int __init ksm_init(void)
{
	struct task_struct *thread;
	int err;

	err = ksm_init_tables();
	if (err) {
		pr_err("ksm: no memory for the tables (%d)\n", err);
		return err;
	}
	thread = kthread_run(ksmd, NULL, "ksmd");
	if (IS_ERR(thread)) {
		pr_err("ksm: cannot start ksmd (%ld)\n", PTR_ERR(thread));
		return PTR_ERR(thread);
	}
	err = ksm_sysfs_init();
	if (err) {
		pr_err("ksm: cannot create the files in sysfs (%d)\n", err);
		kthread_stop(thread);
		return err;
	}
	/* Without sysfs nobody could start it. */
	if (!IS_ENABLED(CONFIG_SYSFS))
		ksm_set_run(KSM_RUN_MERGE);
	ksm_hotplug_init();
	return 0;
}
subsys_initcall(ksm_init);
