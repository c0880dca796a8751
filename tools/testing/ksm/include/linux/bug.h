/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_BUG_H
#define _KSM_TEST_LINUX_BUG_H

#include <asm/bug.h>
#include <linux/build_bug.h>

#endif /* _KSM_TEST_LINUX_BUG_H */
