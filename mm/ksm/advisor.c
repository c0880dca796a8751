// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: how much to scan, and when not to.
 *
 * The scan-time advisor looks at a pass once it is over and picks the batch size
 * with which the next pass should take the target time, smoothed by how much
 * the scan time has been changing, and within bounds for the CPU share and the
 * batch itself.
 *
 * Several times a second, the pressure advisor reads how much memory is available, and
 * chooses the share of a CPU that ksmd may take.
 */

#include <linux/limits.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/time64.h>

#include "advisor.h"

/* The least share of a CPU that is worth having, in percent. */
#define KSM_ADVISOR_MIN_CPU	10
/* Weight of the newest value in the moving average, in percent. */
#define KSM_ADVISOR_WEIGHT	30

/* What ksmd may take of a CPU while memory is plentiful, in thousandths. */
#define KSM_PLENTIFUL_SHARE	5U
/* All of a CPU. */
#define KSM_WHOLE_CPU		1000U

/* Most time that ksmd makes up for by a shorter pause, after it has waited for a CPU. */
#define KSM_MAX_LATE_NSEC	(200 * (u64)NSEC_PER_MSEC)

/* ksmd backs off for this many times the CPU time of the pass ... */
#define KSM_BACK_OFF_RATIO	10
#define KSM_BACK_OFF_MAX_MSEC	10000U
/* ... if at most one page in this many was new, had changed, or was merged. */
#define KSM_BACK_OFF_FEW	64

/**
 * ksm_advisor_init - set the defaults
 * @advisor: filled in
 */
void ksm_advisor_init(struct ksm_advisor *advisor)
{
	*advisor = (struct ksm_advisor){
		.mode = KSM_ADVISOR_NONE,
		.pages_to_scan = KSM_PAGES_TO_SCAN,
		.max_cpu = 70,
		.min_pages_to_scan = 500,
		.max_pages_to_scan = 30000,
		.target_scan_time = 200,
		.start_available = 20,
		.full_available = 5,
		.plentiful = true,
	};
}

/**
 * ksm_advisor_set_mode - change how the batch size is chosen
 * @advisor: the advisor
 * @mode: the new mode; nothing changes where it is the present one
 *
 * Context: under ksm.lock.
 */
void ksm_advisor_set_mode(struct ksm_advisor *advisor, enum ksm_advisor_mode mode)
{
	if (advisor->mode == mode)
		return;
	advisor->mode = mode;
	advisor->start = 0;
	advisor->scan_time = 0;
	advisor->change = 0;
	advisor->share = 0;
	advisor->plentiful = true;
	/* A batch of no pages would never get to the end of a pass. */
	advisor->pages_to_scan = mode == KSM_ADVISOR_NONE ? KSM_PAGES_TO_SCAN :
				 clamp(READ_ONCE(advisor->min_pages_to_scan), 1UL, UINT_MAX);
}

/**
 * ksm_advisor_start - a pass begins
 * @advisor: the advisor
 * @now: monotonic time in nanoseconds
 * @cpu_time: nanoseconds that ksmd has run for
 *
 * Context: under ksm.lock.
 */
void ksm_advisor_start(struct ksm_advisor *advisor, u64 now, u64 cpu_time)
{
	if (advisor->mode != KSM_ADVISOR_SCAN_TIME)
		return;
	advisor->start = now;
	advisor->cpu_time = cpu_time;
}

static unsigned long moving_average(unsigned long mean, unsigned long value)
{
	return (mean * (100 - KSM_ADVISOR_WEIGHT) + value * KSM_ADVISOR_WEIGHT) / 100;
}

/* How the scan time moves, in percent of the pass before, smoothed. */
static unsigned long scan_time_trend(const struct ksm_advisor *advisor,
				     unsigned long scan_time)
{
	unsigned long before = advisor->scan_time ?: scan_time;

	return moving_average(advisor->change, max(scan_time * 100 / before, 1UL));
}

static unsigned long batch_size(const struct ksm_advisor *advisor,
				unsigned long scan_time, unsigned int cpu_percent)
{
	unsigned long faster = max(READ_ONCE(advisor->target_scan_time) * 100 / scan_time, 1UL);
	unsigned long per_percent = max(advisor->pages_to_scan / cpu_percent, 1U);
	unsigned long pages = advisor->pages_to_scan * 100UL / faster;

	pages = pages * advisor->change / 100;
	pages = min(pages, per_percent * READ_ONCE(advisor->max_cpu));
	pages = max(pages, per_percent * KSM_ADVISOR_MIN_CPU);
	pages = min(pages, READ_ONCE(advisor->max_pages_to_scan));
	return clamp(pages, 1UL, UINT_MAX);
}

/**
 * ksm_advisor_stop - a pass is over: choose the next batch size
 * @advisor: the advisor
 * @now: monotonic time in nanoseconds
 * @cpu_time: nanoseconds that ksmd has run for
 * @advice: filled in where the advisor is on
 *
 * Context: under ksm.lock.
 * Return: true where @advice was filled in and taken.
 */
bool ksm_advisor_stop(struct ksm_advisor *advisor, u64 now, u64 cpu_time,
		      struct ksm_advice *advice)
{
	u64 seconds, busy;

	if (advisor->mode != KSM_ADVISOR_SCAN_TIME || !advisor->start)
		return false;
	seconds = max(div_u64(now - advisor->start, NSEC_PER_SEC), 1ULL);
	busy = div64_u64((cpu_time - advisor->cpu_time) * 100,
			 seconds * NSEC_PER_SEC);

	advice->scan_time = seconds;
	advice->cpu_percent = clamp(busy, 1ULL, 100ULL);
	advisor->change = scan_time_trend(advisor, seconds);
	advice->pages_to_scan = batch_size(advisor, seconds, advice->cpu_percent);
	advisor->scan_time = seconds;
	WRITE_ONCE(advisor->pages_to_scan, advice->pages_to_scan);
	return true;
}

static unsigned int most_share(const struct ksm_advisor *advisor)
{
	return clamp(READ_ONCE(advisor->max_cpu), 1UL, 100UL) * (KSM_WHOLE_CPU / 100);
}

/* A value between @least and @most, by how far @at is from @from to @to. */
static u64 between(u64 least, u64 most, u64 at, u64 from, u64 to)
{
	if (at >= to)
		return most;
	if (at <= from)
		return least;
	return least + div64_u64((most - least) * (at - from), to - from);
}

/*
 * Shares grow from the least at start_available to the most at full_available, along a
 * parabola: fast at first.  Memory may get short within seconds, and ksmd has to visit it
 * twice before it merges.
 */
static unsigned int choose_share(const struct ksm_advisor *advisor,
				 const struct ksm_memory *memory)
{
	const u64 available = (u64)memory->available * 100;
	const u64 start = (u64)READ_ONCE(advisor->start_available) * memory->total;
	const u64 full = min((u64)READ_ONCE(advisor->full_available) * memory->total, start);
	const unsigned int most = most_share(advisor);
	u64 left;

	if (memory->cgroup_short || available <= full)
		return most;
	if (available >= start)
		return min(KSM_PLENTIFUL_SHARE, most);
	left = div64_u64((available - full) * KSM_WHOLE_CPU, start - full);
	return between(min(KSM_PLENTIFUL_SHARE, most), most,
		       KSM_WHOLE_CPU * KSM_WHOLE_CPU - left * left, 0,
		       KSM_WHOLE_CPU * KSM_WHOLE_CPU);
}

/* Batches grow with the share: short ones keep a slow scan even. */
static unsigned int choose_pages(const struct ksm_advisor *advisor, unsigned int share)
{
	const u64 most = clamp(READ_ONCE(advisor->max_pages_to_scan), 1UL, UINT_MAX);
	const u64 least = clamp(READ_ONCE(advisor->min_pages_to_scan), 1UL, most);

	return between(least, most, share, KSM_PLENTIFUL_SHARE,
		       max(most_share(advisor), KSM_PLENTIFUL_SHARE + 1));
}

/**
 * ksm_advisor_decide - choose the share of a CPU that ksmd takes
 * @advisor: the advisor, in mode pressure
 * @memory: how much memory there is now
 * @advice: filled in
 *
 * Context: under ksm.lock.
 * Return: true if the decision differs from the one before.
 */
bool ksm_advisor_decide(struct ksm_advisor *advisor, const struct ksm_memory *memory,
			struct ksm_advice *advice)
{
	const u64 start = (u64)READ_ONCE(advisor->start_available) * memory->total;
	const bool plentiful = (u64)memory->available * 100 > start;
	const unsigned int share = choose_share(advisor, memory);
	const unsigned int pages = choose_pages(advisor, share);
	const bool differs = share != advisor->share || plentiful != advisor->plentiful ||
			     pages != advisor->pages_to_scan;

	*advice = (struct ksm_advice){
		.cpu_percent = share / (KSM_WHOLE_CPU / 100),
		.pages_to_scan = pages,
	};
	advisor->share = share;
	WRITE_ONCE(advisor->plentiful, plentiful);
	WRITE_ONCE(advisor->pages_to_scan, pages);
	return differs;
}

/**
 * ksm_advisor_pause_begins - from when on the pause after a batch counts
 * @due: when the batch was to begin
 * @busy: CPU time that it took, in nanoseconds
 * @now: monotonic time in nanoseconds, like @due and the result
 *
 * If many tasks want the CPUs, ksmd wakes up late and is preempted.  That is a pause, too.
 *
 * Context: any.
 * Return: @now, or up to KSM_MAX_LATE_NSEC before.
 */
u64 ksm_advisor_pause_begins(u64 due, u64 busy, u64 now)
{
	return clamp(due + busy, now - min(now, KSM_MAX_LATE_NSEC), now);
}

/**
 * ksm_advisor_pause - how long ksmd sleeps to keep to its share
 * @advisor: the advisor, in mode pressure
 * @busy: CPU time that ksmd has taken, in nanoseconds
 *
 * Context: ksmd.
 * Return: nanoseconds.
 */
u64 ksm_advisor_pause(const struct ksm_advisor *advisor, u64 busy)
{
	const unsigned int share = max(advisor->share, 1U);

	return div_u64(busy * (KSM_WHOLE_CPU - share), share);
}

/**
 * ksm_back_off_millisecs - how long to back off after a pass
 * @busy: CPU time that the pass took, in nanoseconds
 * @changed: pages that were new, had changed, or were merged in it
 * @records: pages that are known
 *
 * If few pages changed, the next pass would find little.
 *
 * Return: milliseconds; 0 where the next pass is wanted at once.
 */
unsigned int ksm_back_off_millisecs(u64 busy, unsigned long changed, unsigned long records)
{
	if (changed > records / KSM_BACK_OFF_FEW)
		return 0;
	return min_t(u64, div_u64(busy, NSEC_PER_MSEC / KSM_BACK_OFF_RATIO),
		     KSM_BACK_OFF_MAX_MSEC);
}

#include "tests/advisor-kunit.h"
