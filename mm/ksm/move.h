/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: an mm changes its domain.
 */
#ifndef _MM_KSM_MOVE_H
#define _MM_KSM_MOVE_H

#include <linux/types.h>

#include "scan.h"

struct ksm_domain;
struct ksm_slots;
struct ksm_walk;

void ksm_domain_lend_merge(struct ksm_domain *from, struct ksm_domain *to);
void ksm_walk_use_domain(struct ksm_walk *walk, struct ksm_domain *domain);
void ksm_scan_free_unused(struct ksm_scan *scan, struct ksm_domain *domain);
enum ksm_stage ksm_move_begin(struct ksm_slots *slots, struct ksm_walk *walk,
			      struct ksm_domain *target);
enum ksm_stage ksm_move_break(struct ksm_walk *walk, const struct ksm_domain *target,
			      u64 deadline);
enum ksm_stage ksm_move_forget(struct ksm_slots *slots, struct ksm_walk *walk,
			       struct ksm_domain *target, u64 deadline);

#endif /* _MM_KSM_MOVE_H */
