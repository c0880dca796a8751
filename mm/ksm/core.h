/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: ksmd and its run states.
 */
#ifndef _MM_KSM_CORE_H
#define _MM_KSM_CORE_H

#include <linux/types.h>

#include "advisor.h"
#include "domain.h"

struct ksm_figures;

/* Values of the control run. */
enum ksm_run {
	KSM_RUN_STOP,
	KSM_RUN_MERGE,
	KSM_RUN_UNMERGE,
};

/**
 * struct ksm_settings - what the files of /sys/kernel/mm/ksm set
 * @run: what ksmd does; written under ksm.lock
 * @sleep_millisecs: pause between two batches
 * @controls: what merging depends on
 * @advisor: the amount of work in a batch
 */
struct ksm_settings {
	enum ksm_run run;
	unsigned int sleep_millisecs;
	struct ksm_controls controls;
	struct ksm_advisor advisor;
};

extern struct ksm_settings ksm_settings;

void ksm_lock(void);
int ksm_lock_killable(void);
void ksm_unlock(void);
void ksm_wake(void);
int ksm_set_run(enum ksm_run run);
bool ksm_unmerging(void);
bool ksm_nothing_shared(void);
void ksm_get_figures(struct ksm_figures *figures);
void ksm_offline_begin(void);
void ksm_offline_end(unsigned long start_pfn, unsigned long end_pfn);

#endif /* _MM_KSM_CORE_H */
