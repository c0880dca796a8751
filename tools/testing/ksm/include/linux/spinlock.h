/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_SPINLOCK_H
#define _KSM_TEST_LINUX_SPINLOCK_H

typedef struct {
	int unused;
} spinlock_t;

#endif /* _KSM_TEST_LINUX_SPINLOCK_H */
