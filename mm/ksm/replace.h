/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: the PTE of a page is replaced by one of a shared page.
 */
#ifndef _MM_KSM_REPLACE_H
#define _MM_KSM_REPLACE_H

#include <linux/mm_types.h>

struct ksm_stable_node;

/**
 * enum ksm_result - how an attempt to merge a page ended
 * @KSM_MERGED: the entry maps the shared page now
 * @KSM_GONE: the area or the page is no longer there
 * @KSM_BUSY: the page is locked, pinned, cannot be split, or for another reason
 *	not to be merged for now
 * @KSM_UNWILLING: somebody maps the page who never asked for merging
 * @KSM_DIFFERENT: the contents are not equal, or there is nothing to merge with
 * @KSM_MIXED: the contents are not equal, and only their samples were compared
 * @KSM_NO_MEMORY: there was no memory for what has to be noted
 */
enum ksm_result {
	KSM_MERGED,
	KSM_GONE,
	KSM_BUSY,
	KSM_UNWILLING,
	KSM_DIFFERENT,
	KSM_MIXED,
	KSM_NO_MEMORY,
};

/**
 * struct ksm_subject - a page that is to be merged, at its place in an mm
 * @vma: the area, while mmap_lock is held
 * @address: of the page
 * @page: the page, with a reference
 */
struct ksm_subject {
	struct vm_area_struct *vma;
	unsigned long address;
	struct page *page;
};

bool ksm_subject_get(struct ksm_subject *subject, struct mm_struct *mm,
		     unsigned long address);
void ksm_subject_put(struct ksm_subject *subject);
enum ksm_result ksm_subject_lock(struct ksm_subject *subject, bool to_stay);
enum ksm_result ksm_replace_locked(struct ksm_subject *subject, struct page *kpage);
enum ksm_result ksm_replace(struct ksm_subject *subject, struct page *kpage);
bool ksm_folio_claim(struct folio *folio);
void ksm_folio_become_shared(struct folio *folio, struct ksm_stable_node *node);

#endif /* _MM_KSM_REPLACE_H */
