/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: an mm changes its domain.
 */
#ifndef _MM_KSM_MOVE_H
#define _MM_KSM_MOVE_H

struct ksm_domain;
struct ksm_scan;

void ksm_scan_use_domain(struct ksm_scan *scan, struct ksm_domain *domain);
void ksm_scan_free_unused(struct ksm_scan *scan, struct ksm_domain *domain);
void ksm_move_begin(struct ksm_scan *scan);
void ksm_move_break(struct ksm_scan *scan, u64 deadline);
void ksm_move_forget(struct ksm_scan *scan, u64 deadline);

#endif /* _MM_KSM_MOVE_H */
