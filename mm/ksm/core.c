// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: ksmd and its run states.
 */

#include <linux/freezer.h>
#include <linux/init.h>
#include <linux/ksm.h>
#include <linux/kthread.h>
#include <linux/oom.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/sched/cputime.h>

#define CREATE_TRACE_POINTS
#include <trace/events/ksm.h>

#include "core.h"
#include "domains.h"
#include "fingerprint.h"
#include "lock.h"
#include "now.h"
#include "poison.h"
#include "reap.h"
#include "record.h"
#include "scan.h"
#include "slots.h"
#include "stable.h"
#include "stats.h"

/* The size of a batch that no sleep follows, if pages_to_scan is less. */
#define KSM_LEAST_PAGES		(16 * KSM_LEAF_PAGES)
/* In mode pressure, ksmd reads the available memory at this interval while it sleeps. */
#define KSM_DECIDE_MSEC		500U
/* The shortest pause between two passes in this mode. */
#define KSM_PASS_PAUSE_MSEC	100U
/* The longest back-off in this mode while memory is short. */
#define KSM_SHORT_BACK_OFF_MSEC	500U

/**
 * struct ksm - the state of KSM
 * @lock: see domain.h
 * @key: the secret
 * @has_secret: @key has been drawn
 * @scan: the pass under way
 * @domains: the trees
 * @due: when the batch was to begin, in mode pressure; monotonic time in nanoseconds
 */
struct ksm {
	struct ksm_lock lock;	/* see domain.h */
	struct ksm_key key;
	bool has_secret;
	struct ksm_scan scan;
	struct ksm_domains domains;
	u64 due;
};

struct ksm_settings ksm_settings = {
	.sleep_millisecs = 20,
	.controls = {
		.prune_millisecs = 2000,
		.min_ptes_merged = 1,
		.max_page_sharing = 256,
		.merge_across_nodes = true,
		.merge_across_cgroups = true,
		.smart_scan = true,
	},
};

static struct ksm ksm;

/**
 * ksm_lock_killable - take ksm.lock while no memory is going offline
 *
 * Context: may sleep.
 * Return: 0 with the lock, or -EINTR if a fatal signal has arrived.
 */
int ksm_lock_killable(void)
{
	return ksm_lock_take(&ksm.lock);
}

/**
 * ksm_unlock - release ksm.lock
 */
void ksm_unlock(void)
{
	ksm_lock_release(&ksm.lock);
}

static bool ksmd_should_run(void)
{
	return ksm_scan_wanted(&ksm.scan);
}

/**
 * ksm_wake - have ksmd see a changed setting at once
 *
 * Context: any.
 */
void ksm_wake(void)
{
	ksm_slots_set_changed(&ksm_slots);
}

/*
 * Between two passes there is a pause of at least a tick.  With little to scan,
 * passes would follow each other without a pause.  Also, a test that changes a page
 * and waits for full_scans to rise would often see the end of a pass that had
 * already visited the page.
 */
static void ksmd_sleep(bool between_passes)
{
	unsigned int millisecs = READ_ONCE(ksm_settings.sleep_millisecs);
	const enum ksm_advisor_mode mode = READ_ONCE(ksm_settings.advisor.mode);
	unsigned long pause = msecs_to_jiffies(millisecs);

	if (between_passes && !pause)
		pause = 1;
	/* The batch was cut short by time: pause only for as long as it ran. */
	if (ksm.scan.cut_short)
		pause = min(pause, msecs_to_jiffies(KSM_BATCH_MSEC));
	wait_event_freezable_timeout(ksm_slots.wait,
				     millisecs != READ_ONCE(ksm_settings.sleep_millisecs) ||
				     mode != READ_ONCE(ksm_settings.advisor.mode),
				     pause);
}

/* After a pass that found nothing new, the next pass waits. */
static void ksmd_back_off(void)
{
	if (READ_ONCE(ksm_settings.sleep_millisecs))
		wait_event_freezable_timeout(ksm_slots.wait, READ_ONCE(ksm_slots.changed),
					     msecs_to_jiffies(ksm.scan.back_off));
}

/* A secret that is drawn before the random number generator is ready can be guessed. */
static bool secret_ready(void)
{
	return ksm.has_secret || rng_is_initialized();
}

static void draw_secret(void)
{
	ksm_key_init(&ksm.key, page_address(ZERO_PAGE(0)));
	ksm_domain_reset(&ksm.domains.common);
	ksm.has_secret = true;
}

static bool under_pressure_mode(void)
{
	return READ_ONCE(ksm_settings.advisor.mode) == KSM_ADVISOR_PRESSURE;
}

/*
 * A TLB flush covers pages of one batch only.  Where ksmd does not sleep between two
 * batches, small ones only cost more flushes.
 */
static unsigned int batch_pages(void)
{
	const unsigned int pages = READ_ONCE(ksm_settings.advisor.pages_to_scan);

	if (!pages || READ_ONCE(ksm_settings.sleep_millisecs) || under_pressure_mode())
		return pages;
	return max(pages, KSM_LEAST_PAGES);
}

/* Returns true if a pass has ended. */
static bool ksmd_batch(void)
{
	bool between_passes;

	ksm_scan_prepare(&ksm.scan);
	if (ksm_lock_killable())
		return true;
	if (!ksm.has_secret)
		draw_secret();
	ksm_scan_decide(&ksm.scan);
	ksm_scan_batch(&ksm.scan, batch_pages());
	between_passes = !ksm_slots.cursor;
	ksm_unlock();
	return between_passes;
}

/* In mode pressure: the pause after a batch that took @busy ns of CPU time, in ns. */
static u64 pressure_pause(u64 busy, bool between_passes)
{
	const struct ksm_advisor *advisor = &ksm_settings.advisor;
	u64 pause = ksm_advisor_pause(advisor, busy);
	unsigned int least = ksm.scan.back_off;

	if (!between_passes)
		return pause;
	if (!advisor->plentiful)
		least = min(least, KSM_SHORT_BACK_OFF_MSEC);
	if (READ_ONCE(ksm_slots.changed))
		least = 0;
	return max_t(u64, pause, max(least, KSM_PASS_PAUSE_MSEC) * (u64)NSEC_PER_MSEC);
}

/* A tick is too coarse: ksmd would use half of its share. */
static void ksmd_pause(u64 nsec)
{
	wait_event_interruptible_hrtimeout(ksm_slots.wait,
					   !under_pressure_mode() || !ksmd_should_run() ||
					   freezing(current),
					   ns_to_ktime(max(nsec, (u64)NSEC_PER_MSEC)));
	try_to_freeze();
}

/*
 * Sleep for as long as the share of a CPU demands that ksmd may take.  Memory can get
 * short meanwhile, so the share is decided on again and again.
 */
static void ksmd_pace(u64 cpu_time, bool between_passes)
{
	u64 began = ktime_get_ns(), pause, elapsed;
	bool slept = false;

	/* Between two passes there is always a pause. */
	if (!between_passes)
		began = ksm_advisor_pause_begins(ksm.due, task_sched_runtime(current) - cpu_time,
						 began);
	while (under_pressure_mode() && ksmd_should_run() && !kthread_should_stop()) {
		if (ksm_lock_killable())
			return;
		ksm_scan_decide(&ksm.scan);
		ksm_unlock();
		pause = pressure_pause(task_sched_runtime(current) - cpu_time,
				       between_passes);
		elapsed = ktime_get_ns() - began;
		ksm.due = began + pause;
		if (elapsed >= pause && (slept || !ksm.scan.priority.spent))
			return;
		ksmd_pause(min_t(u64, pause - min(elapsed, pause),
				 KSM_DECIDE_MSEC * NSEC_PER_MSEC));
		slept = true;
	}
}

static void ksmd_work(void)
{
	const u64 cpu_time = task_sched_runtime(current);
	bool between_passes = ksmd_batch();

	if (!ksmd_should_run())
		return;
	if (under_pressure_mode()) {
		ksmd_pace(cpu_time, between_passes);
		return;
	}
	ksmd_sleep(between_passes);
	if (between_passes)
		ksmd_back_off();
}

static int ksmd(void *unused)
{
	set_freezable();
	set_user_nice(current, ksm.scan.priority.nice);
	while (!kthread_should_stop()) {
		/* If there is no pause between batches, only this freezes ksmd. */
		try_to_freeze();
		cond_resched();
		if (!ksmd_should_run())
			wait_event_freezable(ksm_slots.wait,
					     ksmd_should_run() || kthread_should_stop());
		else if (!secret_ready())
			wait_event_freezable_timeout(ksm_slots.wait, kthread_should_stop(),
						     HZ);
		else
			ksmd_work();
	}
	return 0;
}

/**
 * ksm_set_run - start ksmd, stop it, or stop it and unmerge everything
 * @run: what to do
 *
 * An unmerge takes as much memory as merging saved.  If there is not enough, the
 * OOM killer picks the caller.
 *
 * Context: may sleep.
 * Return: 0; -EINTR after a fatal signal; -ENOMEM or -ERESTARTSYS.  If an unmerge was not
 * completed, ksmd is stopped.
 */
int ksm_set_run(enum ksm_run run)
{
	int err = ksm_lock_killable();

	if (err)
		return err;
	if (ksm_settings.run != run) {
		WRITE_ONCE(ksm_settings.run, run);
		if (run == KSM_RUN_UNMERGE) {
			set_current_oom_origin();
			err = ksm_scan_unmerge(&ksm.scan);
			clear_current_oom_origin();
		}
		if (err)
			WRITE_ONCE(ksm_settings.run, KSM_RUN_STOP);
	}
	ksm_unlock();
	if (run == KSM_RUN_MERGE)
		ksm_wake();
	return err;
}

static int ensure_secret(void)
{
	int err;

	if (!secret_ready())
		return -EAGAIN;
	err = ksm_lock_killable();
	if (err)
		return err;
	if (!ksm.has_secret)
		draw_secret();
	ksm_unlock();
	return 0;
}

/**
 * ksm_merge_now - merge what is marked in an mm, in the time of the caller
 * @mm: the mm
 *
 * Each page is visited once and counts as settled at once.
 *
 * Context: a task; may sleep.  The caller holds a reference to @mm.
 * Return: 0; -EAGAIN if some pages were busy; -ENOMEM; -EINTR if a signal has arrived;
 * -EBUSY while run is 2; -ESRCH if the process exited.  What was merged stays merged.
 */
int ksm_merge_now(struct mm_struct *mm)
{
	int err;

	if (ksm_unmerging())
		return -EBUSY;
	err = ensure_secret();
	return err ?: ksm_merge_mm(&ksm.scan, mm);
}

/**
 * ksm_nothing_shared - whether a control that the trees depend on may change
 *
 * If no page is shared, the stable nodes of pages without mappings are freed.
 *
 * Context: may sleep; under ksm.lock.
 * Return: true if there is no stable node any more.
 */
bool ksm_nothing_shared(void)
{
	struct ksm_domain *domain = NULL;
	struct ksm_counters sum;
	bool cleared = true;

	ksm_domains_assert_locked(&ksm.domains);
	ksm_domains_sum(&ksm.domains, &sum);
	if (sum.shared)
		return false;
	while ((domain = ksm_domains_next(&ksm.domains, domain)))
		cleared &= ksm_stable_clear(domain);
	return cleared;
}

/**
 * ksm_set_merge_across_cgroups - have all mms change their domain
 * @across: whether pages of different memory cgroups may be merged
 *
 * The pass under way ends, since the mm that is being scanned has to change its
 * domain as well before it is merged further.
 *
 * Context: may sleep; under ksm.lock.
 * Return: 0, or -EBUSY if something is shared.
 */
int ksm_set_merge_across_cgroups(bool across)
{
	if (ksm_settings.controls.merge_across_cgroups == across)
		return 0;
	if (!ksm_nothing_shared())
		return -EBUSY;
	WRITE_ONCE(ksm_settings.controls.merge_across_cgroups, across);
	ksm_scan_abort(&ksm.scan);
	ksm_wake();
	return 0;
}

/**
 * ksm_get_figures - read all figures
 * @figures: filled in
 *
 * Context: any.  No lock is taken: the figures may not fit each other.
 */
void ksm_get_figures(struct ksm_figures *figures)
{
	ksm_domains_figures(&ksm.domains, figures);
	figures->full_scans = READ_ONCE(ksm.scan.seqnr);
}

/**
 * ksm_get_domain_figures - read the figures of the domain of a memory cgroup
 * @id: the number of the domain
 * @zero_pages: PTEs in which merging put the zero page
 * @figures: filled in
 *
 * Context: any.  No lock is taken: the figures may not fit each other.
 * Return: false if no mm is in such a domain.
 */
bool ksm_get_domain_figures(unsigned int id, long zero_pages, struct ksm_figures *figures)
{
	return ksm_domain_figures(&ksm.domains, id, zero_pages, figures);
}

/**
 * ksm_reap_removed - free domains of removed cgroups, if ksmd does not scan
 *
 * ksmd does not scan while run is not 1, or while no process has mergeable memory.
 * While it scans, it frees unused domains itself.
 *
 * Context: may sleep; takes ksm.lock.
 * Return: true if the caller has to try again later.
 */
bool ksm_reap_removed(void)
{
	return ksm_reap_domains(&ksm.scan);
}

#ifdef CONFIG_MEMORY_FAILURE
/**
 * ksm_recover - replace a poisoned shared page by a copy of an equal one
 * @folio: a page that has just been poisoned, with a reference, not locked
 *
 * Memory errors are handled one after the other, so if ksm.lock is held for long, nothing
 * is done.
 *
 * Context: may sleep; takes ksm.lock, with no mmap_lock held.
 */
void ksm_recover(struct folio *folio)
{
	struct ksm_stable_node *node;

	if (!folio_test_ksm(folio) || !ksm_lock_soon(&ksm.lock))
		return;
	node = ksm_folio_node(folio);
	if (node)
		ksm_replace_poisoned(ksm_domains_by_id(&ksm.domains, node->domain), node,
				     folio);
	ksm_unlock();
}
#endif

/**
 * ksm_offline_begin - memory is going offline: keep everyone off the trees
 *
 * Context: may sleep.
 */
void ksm_offline_begin(void)
{
	ksm_lock_begin_offline(&ksm.lock);
}

/**
 * ksm_offline_end - memory has gone offline, or will not
 * @start_pfn: first page frame that has gone
 * @end_pfn: page frame behind the last; @start_pfn if none has
 *
 * Context: may sleep.
 */
void ksm_offline_end(unsigned long start_pfn, unsigned long end_pfn)
{
	struct ksm_domain *domain = NULL;

	mutex_lock(&ksm.lock.mutex);
	while (start_pfn < end_pfn && (domain = ksm_domains_next(&ksm.domains, domain)))
		ksm_stable_forget_pfns(domain, start_pfn, end_pfn);
	ksm_lock_end_offline(&ksm.lock);
}

static int __init ksm_init_tables(void)
{
	int err;

	ksm_lock_init(&ksm.lock);
	ksm_fingerprint_init();
	ksm_advisor_init(&ksm_settings.advisor);
	err = ksm_record_init();
	err = err ?: ksm_stable_init();
	err = err ?: ksm_mm_slot_init();
	err = err ?: ksm_domains_init(&ksm.domains, &ksm.lock, &ksm_settings.controls,
				      &ksm.key);
	return err ?: ksm_scan_init(&ksm.scan, &ksm.lock, &ksm_settings, &ksm_slots,
				    &ksm.domains);
}

/* An allocation failure this early is fatal anyway, so nothing is cleaned up. */
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
	/* Without sysfs nothing else could start it. */
	if (!IS_ENABLED(CONFIG_SYSFS))
		ksm_set_run(KSM_RUN_MERGE);
	return 0;
}
subsys_initcall(ksm_init);
