/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: merging one mm at once, for /proc/PID/ksm_merge.
 */
#ifndef _MM_KSM_NOW_H
#define _MM_KSM_NOW_H

struct ksm_scan;
struct ksm_mm_slot;
struct mm_struct;

int ksm_merge_mm(struct ksm_scan *scan, struct mm_struct *mm);
void ksm_move_claimed(struct ksm_scan *scan, struct ksm_mm_slot *slot);

#endif /* _MM_KSM_NOW_H */
