/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_WAIT_H
#define _KSM_TEST_LINUX_WAIT_H

typedef struct {
	int unused;
} wait_queue_head_t;

#endif /* _KSM_TEST_LINUX_WAIT_H */
