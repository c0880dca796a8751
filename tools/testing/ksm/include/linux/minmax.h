/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_MINMAX_H
#define _KSM_TEST_LINUX_MINMAX_H

#include <linux/kernel.h>

#define swap(a, b)	({ typeof(a) __a = (a); (a) = (b); (b) = __a; })

#define min3(x, y, z)	min((typeof(x))min(x, y), z)

#endif /* _KSM_TEST_LINUX_MINMAX_H */
