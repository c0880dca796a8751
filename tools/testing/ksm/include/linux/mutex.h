/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_MUTEX_H
#define _KSM_TEST_LINUX_MUTEX_H

#include <linux/bug.h>

/* There is one thread; what counts is whether it says that it has the lock. */
struct mutex {
	bool held;
};

#define lockdep_assert_held(lock)	((void)WARN_ON(!(lock)->held))

#endif /* _KSM_TEST_LINUX_MUTEX_H */
