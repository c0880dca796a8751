/* SPDX-License-Identifier: GPL-2.0 */
/* A warning of the code under test fails the test, and the test says where. */
#ifndef _KSM_TEST_LINUX_BUG_H
#define _KSM_TEST_LINUX_BUG_H

#include <linux/build_bug.h>
#include <linux/compiler.h>

void shim_warn(const char *file, int line, const char *what);

#define WARN_ON(condition) ({					\
	bool __warn = !!(condition);				\
								\
	if (unlikely(__warn))					\
		shim_warn(__FILE__, __LINE__, #condition);	\
	__warn;							\
})
#define WARN_ON_ONCE(condition)		WARN_ON(condition)
#define VM_WARN_ON_ONCE(condition)	((void)WARN_ON(condition))

#endif /* _KSM_TEST_LINUX_BUG_H */
