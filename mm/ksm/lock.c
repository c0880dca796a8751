// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the lock of the trees.
 *
 * While memory goes offline, nobody may use the trees.  That lasts from one call of a
 * notifier to another, so a flag keeps others out, and not the mutex.
 */

#include <linux/errno.h>
#include <linux/sched/signal.h>

#include "lock.h"

/**
 * ksm_lock_init - make a lock that is not held
 * @lock: filled in
 */
void ksm_lock_init(struct ksm_lock *lock)
{
	mutex_init(&lock->mutex);
	init_waitqueue_head(&lock->offline_wait);
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
		if (!lock->offlining)
			return 0;
		mutex_unlock(&lock->mutex);
		if (wait_event_killable(lock->offline_wait, !READ_ONCE(lock->offlining)))
			return -EINTR;
	}
}

/**
 * ksm_lock_unless_offlining - take the lock, but do not wait for memory to go offline
 * @lock: the lock
 *
 * Context: may sleep.
 * Return: true with the lock.
 */
bool ksm_lock_unless_offlining(struct ksm_lock *lock)
{
	mutex_lock(&lock->mutex);
	if (!lock->offlining)
		return true;
	mutex_unlock(&lock->mutex);
	return false;
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
	wake_up_all(&lock->offline_wait);
}
