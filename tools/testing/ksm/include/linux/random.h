/* SPDX-License-Identifier: GPL-2.0 */
/* Random numbers that the seed of the run decides on. */
#ifndef _KSM_TEST_LINUX_RANDOM_H
#define _KSM_TEST_LINUX_RANDOM_H

#include <linux/types.h>

void get_random_bytes(void *buf, size_t len);
u32 get_random_u32_below(u32 ceil);

#endif /* _KSM_TEST_LINUX_RANDOM_H */
