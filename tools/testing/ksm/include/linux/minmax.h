/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_MINMAX_H
#define _KSM_TEST_LINUX_MINMAX_H

#include <linux/kernel.h>

#define swap(a, b) ({							\
	typeof(a) *__a = &(a), *__b = &(b);				\
	typeof(*__a) __old = *__a;					\
									\
	*__a = *__b;							\
	*__b = __old;							\
})

#endif /* _KSM_TEST_LINUX_MINMAX_H */
