/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: the lock of the trees, and mmap_lock under it.
 */
#ifndef _MM_KSM_LOCK_H
#define _MM_KSM_LOCK_H

#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/wait.h>

struct ksm_mm_slot;

/**
 * struct ksm_lock - ksm.lock, see domain.h
 * @mutex: held to use the trees
 * @offlining: memory is going offline, and the trees must not be used
 * @patience: for how long its holder may still keep others waiting while it waits for
 *	mmap_locks itself, in nanoseconds
 * @wanted: tasks that wait for @mutex
 * @urgent: callers of ksm_lock_soon(), which go first
 * @wait: where to wait for the end of both
 */
struct ksm_lock {
	struct mutex mutex;	/* see above */
	bool offlining;
	u64 patience;
	atomic_t wanted;
	atomic_t urgent;
	wait_queue_head_t wait;
};

void ksm_lock_init(struct ksm_lock *lock);
int ksm_lock_take(struct ksm_lock *lock);
bool ksm_lock_soon(struct ksm_lock *lock);
void ksm_lock_release(struct ksm_lock *lock);
bool ksm_mmap_trylock(struct ksm_mm_slot *slot);
bool ksm_mmap_lock_soon(struct ksm_lock *lock, struct ksm_mm_slot *slot);
bool ksm_lock_overdue(const struct ksm_lock *lock);
void ksm_lock_begin_offline(struct ksm_lock *lock);
void ksm_lock_end_offline(struct ksm_lock *lock);

#endif /* _MM_KSM_LOCK_H */
