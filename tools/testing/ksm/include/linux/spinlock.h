/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_SPINLOCK_H
#define _KSM_TEST_LINUX_SPINLOCK_H

#define spinlock_t	int

#endif /* _KSM_TEST_LINUX_SPINLOCK_H */
