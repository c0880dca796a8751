/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: the domains of removed cgroups, while ksmd does not scan.
 */
#ifndef _MM_KSM_REAP_H
#define _MM_KSM_REAP_H

#include <linux/types.h>

struct ksm_scan;

bool ksm_reap_domains(struct ksm_scan *scan);

#endif /* _MM_KSM_REAP_H */
