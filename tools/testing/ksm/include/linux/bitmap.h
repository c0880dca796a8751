/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_BITMAP_H
#define _KSM_TEST_LINUX_BITMAP_H

#include_next <linux/bitmap.h>

static inline void bitmap_set(unsigned long *map, unsigned int start, unsigned int nbits)
{
	while (nbits--)
		__set_bit(start++, map);
}

#endif /* _KSM_TEST_LINUX_BITMAP_H */
