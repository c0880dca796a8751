/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: ksmd and its run states.
 */
#ifndef _MM_KSM_CORE_H
#define _MM_KSM_CORE_H

#include <linux/types.h>

#include "settings.h"

struct ksm_figures;

int ksm_lock_killable(void);
void ksm_unlock(void);
void ksm_wake(void);
int ksm_set_run(enum ksm_run run);
bool ksm_nothing_shared(void);
bool ksm_reap_removed(void);
int ksm_set_merge_across_cgroups(bool across);
void ksm_get_figures(struct ksm_figures *figures);
bool ksm_get_domain_figures(unsigned int id, long zero_pages, struct ksm_figures *figures);
void ksm_offline_begin(void);
void ksm_offline_end(unsigned long start_pfn, unsigned long end_pfn);

#endif /* _MM_KSM_CORE_H */
