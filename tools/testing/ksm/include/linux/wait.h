/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_WAIT_H
#define _KSM_TEST_LINUX_WAIT_H

#define wait_queue_head_t	int

#endif /* _KSM_TEST_LINUX_WAIT_H */
