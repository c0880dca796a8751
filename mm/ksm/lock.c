// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the lock of the trees.
 *
 * While memory goes offline, nobody may use the trees.  That lasts from one call of a
 * notifier to another, so a flag keeps others out, and not the mutex.  A memory error
 * takes precedence over others and does not wait for long.
 */

#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/jiffies.h>
#include <linux/sched/signal.h>

#include "lock.h"

/* How long ksm_lock_soon() tries. */
#define KSM_SOON_MSEC	200

/**
 * ksm_lock_init - make a lock that is not held
 * @lock: filled in
 */
void ksm_lock_init(struct ksm_lock *lock)
{
	mutex_init(&lock->mutex);
	init_waitqueue_head(&lock->wait);
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
		if (mutex_lock_killable(&lock->mutex))
			return -EINTR;
		if (is_free_for_all(lock))
			return 0;
		mutex_unlock(&lock->mutex);
		if (wait_event_killable(lock->wait, is_free_for_all(lock)))
			return -EINTR;
	}
}

/**
 * ksm_lock_soon - take the lock if that is possible within 200 ms
 * @lock: the lock
 *
 * The lock may be held for long: while memory goes offline, while everything is
 * unmerged, and while a process does not release its mmap_lock.
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

/**
 * ksm_lock_begin_offline - keep everyone off the trees until memory is offline
 * @lock: the lock, not held
 *
 * Context: may sleep.
 */
void ksm_lock_begin_offline(struct ksm_lock *lock)
{
	mutex_lock(&lock->mutex);
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
