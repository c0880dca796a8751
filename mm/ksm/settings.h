/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: what the files of /sys/kernel/mm/ksm set.
 */
#ifndef _MM_KSM_SETTINGS_H
#define _MM_KSM_SETTINGS_H

#include "advisor.h"
#include "domain.h"

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

/**
 * ksm_unmerging - whether run is 2
 *
 * Context: any.
 * Return: true if no page may be shared anew.
 */
static inline bool ksm_unmerging(void)
{
	return READ_ONCE(ksm_settings.run) == KSM_RUN_UNMERGE;
}

#endif /* _MM_KSM_SETTINGS_H */
