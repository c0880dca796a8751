/* SPDX-License-Identifier: GPL-2.0 */
/* A child that holds its mmap_lock for seconds. */
#ifndef KSM_HOLDER_H
#define KSM_HOLDER_H

#include "ksm_common.h"

/*
 * For the child: merges memory, and once the parent lets it go on, unmerges it on the
 * last CPU, with its mmap_lock held. Then it reports.
 */
void holder_run(struct ksm_child *self, size_t pages);
/*
 * For the parent: lets the child go on, and starts a process that takes most of its CPU.
 * Returns that process once the child holds its mmap_lock.
 */
pid_t holder_begin(struct ksm_child *child);

#endif /* KSM_HOLDER_H */
