/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_BITOPS_H
#define _KSM_TEST_LINUX_BITOPS_H

#include_next <linux/bitops.h>

static inline unsigned long __ffs64(unsigned long long word)
{
	return __builtin_ctzll(word);
}

#endif /* _KSM_TEST_LINUX_BITOPS_H */
