// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the lock of the trees, and mmap_lock under it.
 *
 * While memory goes offline, nobody may use the trees.  That lasts from one call of a
 * notifier to another, so a flag keeps others out, and not the mutex.  A memory error
 * takes precedence over others and does not wait for long.
 *
 * A process may hold its mmap_lock for long, for instance while mmap() waits for a file
 * server.  That must not stop the others, so the holder of ksm.lock waits for mmap_locks
 * with a time limit.  For each of them the limit is KSM_PATIENCE_NSEC, and so it is for all
 * of them together while others wait for ksm.lock.
 *
 * The holder waits in the queue of the mmap_lock.  If threads of the process take the
 * lock in turn, one of them waits nearly all the time, and mmap_read_trylock() fails then.
 */

#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/hrtimer.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/task_work.h>

#include "lock.h"
#include "slots.h"

/* How long ksm_lock_soon() tries. */
#define KSM_SOON_MSEC		200
/* How long the holder waits for an mmap_lock. */
#define KSM_PATIENCE_NSEC	(20 * NSEC_PER_MSEC)

/**
 * struct ksm_alarm - a time limit for a sleep that signals end
 * @timer: expires at the limit
 * @task: the task that sleeps
 */
struct ksm_alarm {
	struct hrtimer timer;
	struct task_struct *task;
};

/**
 * ksm_lock_init - make a lock that is not held
 * @lock: filled in
 */
void ksm_lock_init(struct ksm_lock *lock)
{
	mutex_init(&lock->mutex);
	init_waitqueue_head(&lock->wait);
}

static int wait_for_mutex(struct ksm_lock *lock)
{
	int err;

	atomic_inc(&lock->wanted);
	err = mutex_lock_killable(&lock->mutex);
	atomic_dec(&lock->wanted);
	return err;
}

static bool is_free_for_all(struct ksm_lock *lock)
{
	return !READ_ONCE(lock->offlining) && !atomic_read(&lock->urgent);
}

/**
 * ksm_lock_take - take the lock while no memory is going offline
 * @lock: the lock
 *
 * Context: may sleep.
 * Return: 0 with the lock, or -EINTR if a fatal signal has arrived.
 */
int ksm_lock_take(struct ksm_lock *lock)
{
	for (;;) {
		if (wait_for_mutex(lock))
			return -EINTR;
		if (is_free_for_all(lock)) {
			lock->patience = KSM_PATIENCE_NSEC;
			return 0;
		}
		mutex_unlock(&lock->mutex);
		if (wait_event_killable(lock->wait, is_free_for_all(lock)))
			return -EINTR;
	}
}

/**
 * ksm_lock_soon - take the lock if that is possible within 200 ms
 * @lock: the lock
 *
 * The lock may be held for long: while memory goes offline, and while everything is
 * unmerged.
 *
 * Context: may sleep.
 * Return: true with the lock.
 */
bool ksm_lock_soon(struct ksm_lock *lock)
{
	const unsigned long end = jiffies + msecs_to_jiffies(KSM_SOON_MSEC);
	bool locked;

	atomic_inc(&lock->urgent);
	do {
		locked = mutex_trylock(&lock->mutex);
		if (locked)
			break;
		usleep_range(USEC_PER_MSEC, 2 * USEC_PER_MSEC);
	} while (!READ_ONCE(lock->offlining) && time_before(jiffies, end));
	atomic_dec(&lock->urgent);
	wake_up_all(&lock->wait);
	if (locked && lock->offlining) {
		mutex_unlock(&lock->mutex);
		locked = false;
	}
	return locked;
}

/**
 * ksm_lock_release - release the lock
 * @lock: the lock
 */
void ksm_lock_release(struct ksm_lock *lock)
{
	mutex_unlock(&lock->mutex);
}

static enum hrtimer_restart ring(struct hrtimer *timer)
{
	set_notify_signal(container_of(timer, struct ksm_alarm, timer)->task);
	return HRTIMER_NORESTART;
}

/* A wait for an rwsem has no time limit, but a signal ends it.  The timer acts as one. */
static void set_alarm(struct ksm_alarm *alarm, u64 nsec)
{
	alarm->task = current;
	hrtimer_init_on_stack(&alarm->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	alarm->timer.function = ring;
	hrtimer_start(&alarm->timer, ns_to_ktime(nsec), HRTIMER_MODE_REL);
}

/* Task work sets the same flag: if there is any, the flag has to stay. */
static void end_alarm(struct ksm_alarm *alarm)
{
	hrtimer_cancel(&alarm->timer);
	destroy_hrtimer_on_stack(&alarm->timer);
	clear_notify_signal();
	if (task_work_pending(current))
		set_notify_signal(current);
}

/* 6.12 has no mmap_read_lock_interruptible(). */
static bool lock_unless_interrupted(struct mm_struct *mm)
{
	bool locked;

	__mmap_lock_trace_start_locking(mm, false);
	locked = !down_read_interruptible(&mm->mmap_lock);
	__mmap_lock_trace_acquire_returned(mm, false, locked);
	return locked;
}

static bool is_wanted(const struct ksm_lock *lock)
{
	return atomic_read(&lock->wanted) || atomic_read(&lock->urgent);
}

static bool wait_for_mmap_lock(struct ksm_lock *lock, struct ksm_mm_slot *slot)
{
	const u64 limit = is_wanted(lock) ? lock->patience : KSM_PATIENCE_NSEC;
	const u64 began = ktime_get_ns();
	struct ksm_alarm alarm;
	bool locked;
	u64 waited;

	if (!limit)
		return false;
	set_alarm(&alarm, limit);
	locked = lock_unless_interrupted(slot->slot.mm);
	end_alarm(&alarm);
	waited = ktime_get_ns() - began;
	lock->patience -= min(waited, lock->patience);
	slot->held = !locked && waited >= KSM_PATIENCE_NSEC;
	return locked;
}

/**
 * ksm_mmap_trylock - take mmap_lock for reading, if it is free
 * @slot: the slot of the mm
 *
 * Context: under ksm.lock.
 * Return: true with mmap_lock.
 */
bool ksm_mmap_trylock(struct ksm_mm_slot *slot)
{
	if (!mmap_read_trylock(slot->slot.mm))
		return false;
	slot->held = false;
	return true;
}

/**
 * ksm_mmap_lock_soon - take mmap_lock for reading, unless it is held for long
 * @lock: ksm.lock
 * @slot: the slot of the mm
 *
 * If the last wait for the lock was given up, the lock is only tried.
 *
 * Context: may sleep; under ksm.lock, no mmap_lock held.
 * Return: true with mmap_lock; false if it is held for long, or if a signal has arrived.
 */
bool ksm_mmap_lock_soon(struct ksm_lock *lock, struct ksm_mm_slot *slot)
{
	lockdep_assert_held(&lock->mutex);
	return ksm_mmap_trylock(slot) || (!slot->held && wait_for_mmap_lock(lock, slot));
}

/**
 * ksm_lock_overdue - whether the holder should release the lock soon
 * @lock: the lock
 *
 * Context: under ksm.lock.
 * Return: true if others wait for it, and the holder has waited for mmap_locks for long.
 */
bool ksm_lock_overdue(const struct ksm_lock *lock)
{
	return is_wanted(lock) && lock->patience < KSM_PATIENCE_NSEC / 2;
}

/**
 * ksm_lock_begin_offline - keep everyone off the trees until memory is offline
 * @lock: the lock, not held
 *
 * Context: may sleep.
 */
void ksm_lock_begin_offline(struct ksm_lock *lock)
{
	atomic_inc(&lock->wanted);
	mutex_lock(&lock->mutex);
	atomic_dec(&lock->wanted);
	WRITE_ONCE(lock->offlining, true);
	mutex_unlock(&lock->mutex);
}

/**
 * ksm_lock_end_offline - let others use the trees again
 * @lock: the lock, with its mutex, which is released
 *
 * Context: may sleep.
 */
void ksm_lock_end_offline(struct ksm_lock *lock)
{
	WRITE_ONCE(lock->offlining, false);
	mutex_unlock(&lock->mutex);
	wake_up_all(&lock->wait);
}
