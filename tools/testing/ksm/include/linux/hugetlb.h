/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_HUGETLB_H
#define _KSM_TEST_LINUX_HUGETLB_H

unsigned long hugetlb_total_pages(void);

#endif /* _KSM_TEST_LINUX_HUGETLB_H */
