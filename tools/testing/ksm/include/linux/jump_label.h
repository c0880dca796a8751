/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_JUMP_LABEL_H
#define _KSM_TEST_LINUX_JUMP_LABEL_H

#include <linux/types.h>

#define DEFINE_STATIC_KEY_FALSE(name)	bool name
#define static_branch_likely(key)	(*(key))
#define static_branch_enable(key)	(*(key) = true)

#endif /* _KSM_TEST_LINUX_JUMP_LABEL_H */
