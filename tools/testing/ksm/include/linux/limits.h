/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_LIMITS_H
#define _KSM_TEST_LINUX_LIMITS_H

#include_next <linux/limits.h>
#include <limits.h>

#endif /* _KSM_TEST_LINUX_LIMITS_H */
