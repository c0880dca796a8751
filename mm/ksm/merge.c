// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: making equal pages one, and one page several again.
 *
 * Fingerprints suggest what to merge; contents decide.  A page is compared while
 * its entry is cleared and flushed, when nobody can write to it, and only if its
 * references are the mappings, the swap cache and our own, so that nobody is
 * about to.
 *
 * One mmap_lock is held at a time.  Two pages that are like each other are hence
 * merged in two steps: the first becomes a shared page with a single mapping,
 * the second is then merged with that like any other; if this fails, the first
 * step is undone.
 */

#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <asm/tlbflush.h>
#ifdef CONFIG_ARM64_MTE
#include <asm/mte.h>
#endif
#include <trace/events/ksm.h>

#include "../internal.h"
#include "ksm.h"

/* Records with one and the same sample that a search converts at most. */
#define KSM_MAX_CONVERSIONS	4
/* Records with one and the same tag that a search asks for their page at most. */
#define KSM_MAX_PROBES		4
/* Areas of forks that a page to be shared is looked for in at most. */
#define KSM_MAX_AREAS		256

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

/**
 * struct ksm_content - what a page holds, as far as it was read
 * @sample: key of its sample
 * @key: key of all of it; @sample again where that was enough
 * @whole: all of it was read
 */
struct ksm_content {
	u64 sample;
	u64 key;
	bool whole;
};

static int result_to_errno(enum ksm_result result)
{
	return result == KSM_MERGED ? 0 : -EFAULT;
}

/**
 * ksm_mergeable_page - whether a page is of a kind that is merged
 * @page: the page, or NULL
 *
 * Return: @page, or NULL where it is not anonymous, not memory, or poisoned.
 */
struct page *ksm_mergeable_page(struct page *page)
{
	struct folio *folio;

	if (!page)
		return NULL;
	folio = page_folio(page);
	if (!folio_test_anon(folio) || folio_is_zone_device(folio) || PageHWPoison(page))
		return NULL;
	return page;
}

static struct page *subject_page(struct vm_area_struct *vma, unsigned long address)
{
	struct folio_walk fw;
	struct page *page;
	struct folio *folio;

	folio = folio_walk_start(&fw, vma, address, 0);
	if (!folio)
		return NULL;
	page = ksm_mergeable_page(fw.page);
	if (page)
		folio_get(folio);
	folio_walk_end(&fw, vma);
	return page;
}

/* Take mmap_lock and look up the page of a record, or do neither. */
static bool subject_get(struct ksm_subject *subject, const struct ksm_record *record)
{
	struct mm_struct *mm = ksm_record_mm(record);

	subject->address = ksm_record_address(record);
	mmap_read_lock(mm);
	subject->vma = ksm_find_vma(mm, subject->address);
	if (subject->vma) {
		subject->page = subject_page(subject->vma, subject->address);
		if (subject->page) {
			flush_anon_page(subject->vma, subject->page, subject->address);
			flush_dcache_page(subject->page);
			return true;
		}
	}
	mmap_read_unlock(mm);
	return false;
}

static void subject_put(struct ksm_subject *subject)
{
	struct mm_struct *mm = subject->vma->vm_mm;

	put_page(subject->page);
	mmap_read_unlock(mm);
}

static u64 hash_of(struct page *page,
		   u64 (*hash)(const struct ksm_key *key, const void *addr))
{
	void *addr = kmap_local_page(page);
	u64 fingerprint;

	ksm_hash_begin();
	fingerprint = hash(&ksm.key, addr);
	ksm_hash_end();
	kunmap_local(addr);
	return fingerprint;
}

static u64 key_of(struct page *page,
		  u64 (*hash)(const struct ksm_key *key, const void *addr))
{
	return ksm_key_on_node(hash_of(page, hash), ksm_page_nid(page));
}

static void read_whole(struct ksm_content *content, struct page *page)
{
	content->key = key_of(page, ksm_fingerprint);
	content->whole = true;
}

/* @page differs from one with the same sample, unless it has changed meanwhile. */
static enum ksm_result mixed_or_gone(struct page *page, const struct ksm_content *content)
{
	return key_of(page, ksm_sample) == content->sample ? KSM_MIXED : KSM_GONE;
}

#ifdef CONFIG_ARM64_MTE
/* Tags are content too, which a look at the bytes does not see. */
static bool never_equal(struct page *page)
{
	return system_supports_mte() && page_mte_tagged(page);
}
#else
static bool never_equal(struct page *page)
{
	return false;
}
#endif

static bool pages_equal(struct page *page, struct page *kpage)
{
	void *one = kmap_local_page(page);
	void *other = kmap_local_page(kpage);
	bool equal;

	ksm_hash_begin();
	equal = ksm_equal(one, other);
	ksm_hash_end();
	kunmap_local(other);
	kunmap_local(one);
	return equal;
}

/* Beside the mappings, only the swap cache and this attempt may hold a reference. */
static bool only_mapped(const struct folio *folio)
{
	return folio_ref_count(folio) ==
	       folio_mapcount(folio) + 1 + folio_test_swapcache(folio);
}

/* What the entry says about the address stays; what it says of the page doesn't. */
static pte_t keep_marks(pte_t pte, pte_t old)
{
	if (pte_soft_dirty(old))
		pte = pte_mksoft_dirty(pte);
	if (pte_uffd_wp(old))
		pte = pte_mkuffd_wp(pte);
	return pte;
}

/*
 * The one process that still mapped the shared page may have told by MADV_FREE
 * that it can be dropped.  That holds for nobody else, and a dirty page stays.
 */
static pte_t map_shared(struct ksm_subject *subject, struct page *kpage, pte_t old)
{
	struct vm_area_struct *vma = subject->vma;
	struct folio *kfolio = page_folio(kpage);

	VM_WARN_ON_FOLIO(!folio_test_locked(kfolio), kfolio);
	folio_get(kfolio);
	folio_add_anon_rmap_pte(kfolio, kpage, vma, subject->address, RMAP_NONE);
	if (!folio_test_dirty(kfolio))
		folio_set_dirty(kfolio);
	return keep_marks(mk_pte(kpage, vma->vm_page_prot), old);
}

/* A dirty entry for the zero page tells that it was put there by KSM. */
static pte_t map_zero(struct ksm_subject *subject, struct page *zero, pte_t old)
{
	struct vm_area_struct *vma = subject->vma;
	pte_t pte = pfn_pte(page_to_pfn(zero), vma->vm_page_prot);

	ksm_map_zero_page(vma->vm_mm);
	dec_mm_counter(vma->vm_mm, MM_ANONPAGES);
	return keep_marks(pte_mkdirty(pte_mkspecial(pte)), old);
}

/*
 * With the entry cleared: whether the page may be shared, and what to map then.
 * Sharing the anonymous mapping comes last, since it cannot be taken back.
 */
static enum ksm_result choose_pte(struct ksm_subject *subject, struct page *kpage,
				  pte_t *pte)
{
	struct folio *folio = page_folio(subject->page);
	pte_t old = *pte;

	if (!only_mapped(folio) || never_equal(subject->page) ||
	    (kpage && never_equal(kpage)))
		return KSM_BUSY;
	if (kpage && !pages_equal(subject->page, kpage))
		return KSM_DIFFERENT;
	if (PageAnonExclusive(subject->page) &&
	    folio_try_share_anon_rmap_pte(folio, subject->page))
		return KSM_BUSY;
	if (!kpage)
		*pte = pte_wrprotect(old);
	else if (is_zero_pfn(page_to_pfn(kpage)))
		*pte = map_zero(subject, kpage, old);
	else
		*pte = map_shared(subject, kpage, old);
	return KSM_MERGED;
}

static enum ksm_result replace_locked_pte(struct ksm_subject *subject,
					  struct page *kpage, pte_t *ptep)
{
	struct vm_area_struct *vma = subject->vma;
	struct folio *folio = page_folio(subject->page);
	pte_t pte = ptep_get(ptep);
	enum ksm_result result;

	if (!pte_present(pte) || pte_pfn(pte) != page_to_pfn(subject->page))
		return KSM_GONE;
	flush_cache_page(vma, subject->address, pte_pfn(pte));
	/*
	 * get_user_pages_fast() takes references without a lock.  Once the entry
	 * is flushed it cannot, and those it took before are seen.
	 */
	pte = ptep_clear_flush(vma, subject->address, ptep);
	result = choose_pte(subject, kpage, &pte);
	set_pte_at(vma->vm_mm, subject->address, ptep, pte);
	if (result == KSM_MERGED && kpage) {
		folio_remove_rmap_pte(folio, subject->page, vma);
		folio_put(folio);
	}
	return result;
}

/*
 * Let the entry of a page map @kpage, or write-protect it where that is NULL.
 * Both folios are locked.
 */
static enum ksm_result replace_pte(struct ksm_subject *subject, struct page *kpage)
{
	struct mm_struct *mm = subject->vma->vm_mm;
	enum ksm_result result = KSM_GONE;
	struct mmu_notifier_range range;
	spinlock_t *ptl;	/* of the page table */
	pte_t *ptep;
	pmd_t *pmd;

	pmd = mm_find_pmd(mm, subject->address);
	if (!pmd)
		return KSM_GONE;
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, subject->address,
				subject->address + PAGE_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	ptep = pte_offset_map_lock(mm, pmd, subject->address, &ptl);
	if (ptep) {
		result = replace_locked_pte(subject, kpage, ptep);
		pte_unmap_unlock(ptep, ptl);
	}
	mmu_notifier_invalidate_range_end(&range);
	return result;
}

/* Likewise, where the page is locked, unless it is no longer one to merge. */
static enum ksm_result replace_locked(struct ksm_subject *subject, struct page *kpage)
{
	struct folio *folio = page_folio(subject->page);

	if (!folio_test_anon(folio) || folio_test_ksm(folio))
		return KSM_GONE;
	return replace_pte(subject, kpage);
}

/**
 * struct ksm_consent - whether all who map a page want it to be merged
 * @willing: nobody was found who does not
 * @areas: that may still be looked at
 */
struct ksm_consent {
	bool willing;
	unsigned int areas;
};

/* For rmap_walk(): goes on until an area maps the folio that is not to be merged. */
static bool maps_willingly(struct folio *folio, struct vm_area_struct *vma,
			   unsigned long address, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, address, 0);
	struct ksm_consent *consent = arg;

	if (!consent->areas--) {
		consent->willing = false;
	} else if (!(vma->vm_flags & VM_MERGEABLE) && page_vma_mapped_walk(&pvmw)) {
		page_vma_mapped_walk_done(&pvmw);
		consent->willing = false;
	}
	return consent->willing;
}

/*
 * After a fork a page may be mapped by a process that never asked for merging.  No
 * rmap_item would stand for that one, so that it could neither be found by a walk
 * of the reverse map nor have its page back.  Nobody should be able to make ksmd
 * look for such a process for long: where there are very many, there may be one.
 */
static bool all_willing(struct folio *folio)
{
	struct ksm_consent consent = { .willing = true, .areas = KSM_MAX_AREAS };
	struct rmap_walk_control rwc = {
		.rmap_one = maps_willingly,
		.anon_lock = folio_lock_anon_vma_read,
		.arg = &consent,
	};

	if (folio_mapcount(folio) != 1 && folio_test_anon(folio) && !folio_test_ksm(folio))
		rmap_walk(folio, &rwc);
	return consent.willing;
}

/*
 * Lock a page for merging, taken out of its large folio if it is in one; @to_stay
 * where it is to be the one that others share.
 */
static enum ksm_result lock_subject(struct ksm_subject *subject, bool to_stay)
{
	enum ksm_result result = KSM_MERGED;

	if (!trylock_page(subject->page))
		return KSM_BUSY;
	if (to_stay && !all_willing(page_folio(subject->page)))
		result = KSM_UNWILLING;
	else if (PageTransCompound(subject->page) && split_huge_page(subject->page))
		result = KSM_BUSY;
	if (result != KSM_MERGED)
		unlock_page(subject->page);
	return result;
}

/* Merge a page with @kpage, which is locked or the zero page. */
static enum ksm_result merge_with(struct ksm_subject *subject, struct page *kpage)
{
	enum ksm_result result = lock_subject(subject, false);
	struct folio *folio;

	if (result != KSM_MERGED)
		return result;
	folio = page_folio(subject->page);
	result = replace_locked(subject, kpage);
	if (result == KSM_MERGED && !folio_mapped(folio))
		folio_free_swap(folio);
	folio_unlock(folio);
	return result;
}

/* mmap_lock keeps the anon_vma until the rmap_item has its own reference. */
static void item_fill(struct ksm_rmap_item *item, struct ksm_subject *subject)
{
	struct vm_area_struct *vma = subject->vma;

	item->mm = vma->vm_mm;
	item->address = subject->address;
	item->index = linear_page_index(vma, subject->address);
	item->anon_vma = vma->anon_vma;
	get_anon_vma(item->anon_vma);
}

static void record_share(struct ksm_domain *domain, struct ksm_record *record,
			 struct ksm_stable_node *node, struct ksm_rmap_item *item)
{
	ksm_record_unshare(domain, record);
	record->item = item;
	record->state = KSM_SHARED;
	record->age = 0;
	record->skips = 0;
	ksm_stable_append(domain, node, item);
}

/* Merge with a shared page that is locked; the lock and reference stay. */
static enum ksm_result merge_into(struct ksm_domain *domain, struct ksm_record *record,
				  struct ksm_subject *subject, struct folio *kfolio)
{
	struct ksm_rmap_item *item;
	enum ksm_result result;

	/* One of them was moved; the shared page gets its new key in this pass. */
	if (ksm_page_nid(subject->page) != ksm_page_nid(&kfolio->page))
		return KSM_BUSY;
	item = ksm_item_alloc();
	if (!item)
		return KSM_NO_MEMORY;
	result = merge_with(subject, &kfolio->page);
	trace_ksm_merge_with_ksm_page(&kfolio->page, folio_pfn(kfolio), item,
				      subject->vma->vm_mm, result_to_errno(result));
	if (result != KSM_MERGED) {
		ksm_item_free(item);
		return result;
	}
	item_fill(item, subject);
	record_share(domain, record, ksm_folio_node(kfolio), item);
	return KSM_MERGED;
}

/* Merge with a page that is shared under @key. */
static enum ksm_result merge_key(struct ksm_domain *domain, struct ksm_record *record,
				 struct ksm_subject *subject, u64 key)
{
	struct folio *kfolio = ksm_stable_candidate(domain, key);
	enum ksm_result result;

	if (!kfolio)
		return KSM_DIFFERENT;
	if (IS_ERR(kfolio))
		return KSM_BUSY;
	result = merge_into(domain, record, subject, kfolio);
	if (result == KSM_DIFFERENT)
		result = KSM_MIXED;
	folio_unlock(kfolio);
	folio_put(kfolio);
	return result;
}

/* Merge a zeroed page with the zero page, where that is wanted and can be done. */
static bool merge_zero(struct ksm_domain *domain, struct ksm_record *record,
		       struct ksm_subject *subject)
{
	struct mm_struct *mm = subject->vma->vm_mm;
	struct page *zero = ZERO_PAGE(subject->address);
	enum ksm_result result;

	if (!READ_ONCE(ksm.use_zero_pages) || mm_forbids_zeropage(mm))
		return false;
	result = merge_with(subject, zero);
	trace_ksm_merge_one_page(page_to_pfn(zero), record, mm, result_to_errno(result));
	if (result != KSM_MERGED)
		return false;
	ksm_record_forget(domain, record);
	return true;
}

/*
 * A page that is shared under @key, with a reference; NULL where there is none,
 * or where it is broken and not to be read.
 */
static struct folio *shared_folio(struct ksm_domain *domain, u64 key,
				  struct ksm_stable_node **node)
{
	struct folio *folio = NULL;

	while (!folio) {
		*node = ksm_stable_find(domain, key);
		if (!*node)
			break;
		folio = ksm_stable_folio(domain, *node, KSM_FOLIO_NOLOCK);
	}
	if (folio && folio_test_hwpoison(folio)) {
		folio_put(folio);
		return NULL;
	}
	return folio;
}

/* Whether the pages that are shared under @key hold something else. */
static bool differs_from_shared(struct ksm_domain *domain, struct page *page, u64 key)
{
	struct ksm_stable_node *node;
	struct folio *kfolio = shared_folio(domain, key, &node);
	bool equal;

	if (!kfolio)
		return false;
	equal = pages_equal(page, &kfolio->page);
	folio_put(kfolio);
	return !equal;
}

/*
 * The folio is locked and write-protected, and its node in the tree.  Reclaim
 * drops a clean page, so it has to be dirty in order to be swapped out.
 */
static void folio_become_shared(struct folio *folio, struct ksm_stable_node *node)
{
	VM_WARN_ON_FOLIO(PageAnonExclusive(&folio->page), folio);
	WRITE_ONCE(folio->mapping, ksm_node_mapping(node));
	folio_mark_accessed(folio);
	if (!folio_test_dirty(folio))
		folio_set_dirty(folio);
}

/*
 * Let a locked folio say that it is a shared one, though without a node as yet.
 * Who walks the reverse map of an anonymous page needs no lock, but a reference
 * from before it looked what the page is.  So either that reference is seen here,
 * or it sees a page of KSM and waits for the lock.
 */
static bool folio_claim(struct folio *folio)
{
	struct address_space *mapping = folio->mapping;

	WRITE_ONCE(folio->mapping, (void *)PAGE_MAPPING_KSM);
	/* As SB+fencembonceonces of tools/memory-model; they have folio_try_get(). */
	smp_mb();
	if (only_mapped(folio))
		return true;
	WRITE_ONCE(folio->mapping, mapping);
	return false;
}

/*
 * Now that nobody can write to the page: whether it still holds what it is to be
 * known by, and may be shared.
 */
static enum ksm_result confirm_shared(struct ksm_domain *domain, struct page *page,
				      const struct ksm_content *content)
{
	u64 key = key_of(page, content->whole ? ksm_fingerprint : ksm_sample);

	if (key != content->key || differs_from_shared(domain, page, key))
		return KSM_DIFFERENT;
	return folio_claim(page_folio(page)) ? KSM_MERGED : KSM_BUSY;
}

/* First step: the page becomes a shared one.  @node and @item are used then. */
static enum ksm_result make_shared(struct ksm_domain *domain, struct ksm_record *record,
				   struct ksm_subject *subject,
				   const struct ksm_content *content,
				   struct ksm_stable_node *node,
				   struct ksm_rmap_item *item)
{
	enum ksm_result result = lock_subject(subject, true);
	struct folio *folio;

	if (result != KSM_MERGED)
		goto out;
	folio = page_folio(subject->page);
	result = replace_locked(subject, NULL);
	/* If it is not to be shared, it is just write-protected for nothing. */
	if (result == KSM_MERGED)
		result = confirm_shared(domain, subject->page, content);
	if (result == KSM_MERGED) {
		ksm_stable_insert(domain, node, folio, content->key, content->sample);
		folio_become_shared(folio, node);
		item_fill(item, subject);
		record_share(domain, record, node, item);
	}
	folio_unlock(folio);
out:
	trace_ksm_merge_with_ksm_page(NULL, page_to_pfn(subject->page), item,
				      subject->vma->vm_mm, result_to_errno(result));
	return result;
}

/* Undo the first step. */
static void break_share(struct ksm_domain *domain, struct ksm_record *record)
{
	struct mm_struct *mm = ksm_record_mm(record);
	unsigned long address = ksm_record_address(record);
	struct vm_area_struct *vma;

	mmap_read_lock(mm);
	vma = ksm_find_vma(mm, address);
	if (vma)
		ksm_break_range(vma, address, address + PAGE_SIZE);
	mmap_read_unlock(mm);
	ksm_record_unshare(domain, record);
}

/* Second step: merge the page of @record with the one that @first shares. */
static enum ksm_result join_shared(struct ksm_domain *domain, struct ksm_record *first,
				   struct ksm_record *record)
{
	struct ksm_subject subject;
	enum ksm_result result = KSM_BUSY;
	struct folio *kfolio;

	if (!first->item->node)
		return KSM_GONE;
	if (!subject_get(&subject, record))
		return KSM_GONE;
	kfolio = ksm_stable_folio(domain, first->item->node, KSM_FOLIO_TRYLOCK);
	if (!IS_ERR_OR_NULL(kfolio)) {
		result = merge_into(domain, record, &subject, kfolio);
		folio_unlock(kfolio);
		folio_put(kfolio);
	}
	subject_put(&subject);
	return result;
}

static enum ksm_result share_first(struct ksm_domain *domain, struct ksm_record *record,
				   const struct ksm_content *content)
{
	struct ksm_stable_node *node = ksm_node_alloc();
	struct ksm_rmap_item *item = ksm_item_alloc();
	enum ksm_result result = KSM_NO_MEMORY;
	struct ksm_subject subject;

	if (node && item) {
		result = KSM_GONE;
		if (subject_get(&subject, record)) {
			result = make_shared(domain, record, &subject, content,
					     node, item);
			subject_put(&subject);
		}
	}
	if (result != KSM_MERGED) {
		ksm_node_free(node);
		ksm_item_free(item);
	}
	return result;
}

/*
 * Compare the page of @other, which has the tag of @content, with @page.
 * KSM_MERGED stands for the same content in another page, KSM_BUSY for the very
 * same page, which two processes map after a fork, KSM_GONE for a page of either
 * that holds something else by now, or lies elsewhere.
 */
static enum ksm_result check_other(const struct ksm_record *other, struct page *page,
				   const struct ksm_content *content)
{
	u64 (*hash)(const struct ksm_key *key, const void *addr) =
		content->whole ? ksm_fingerprint : ksm_sample;
	enum ksm_result result;
	struct ksm_subject subject;

	if (!subject_get(&subject, other))
		return KSM_GONE;
	if (subject.page == page)
		result = KSM_BUSY;
	else if (ksm_page_nid(subject.page) != ksm_page_nid(page))
		result = KSM_GONE;
	else if (pages_equal(page, subject.page))
		result = KSM_MERGED;
	else if (ksm_tag(key_of(subject.page, hash)) != other->tag)
		result = KSM_GONE;
	else
		result = content->whole ? KSM_DIFFERENT : KSM_MIXED;
	subject_put(&subject);
	return result;
}

/*
 * Find the record of a page with the same content.  Those whose page no longer
 * holds what their tag says leave the table.
 */
static enum ksm_result find_other(struct ksm_domain *domain, struct page *page,
				  const struct ksm_content *content,
				  struct ksm_record **found)
{
	struct ksm_record *other, *next;
	unsigned int i = 0;

	other = ksm_unstable_find(&domain->unstable, ksm_tag(content->key),
				  content->whole);
	for (; other && i < KSM_MAX_PROBES; other = next, i++) {
		enum ksm_result result = check_other(other, page, content);

		next = ksm_unstable_next(other);
		*found = other;
		if (result == KSM_GONE)
			ksm_unstable_remove(&domain->unstable, other);
		else if (result != KSM_DIFFERENT)
			return result;
	}
	return other ? KSM_BUSY : KSM_DIFFERENT;
}

/*
 * Merge the pages of two records; undo it where the second does not come along.  A
 * page that must not become the shared one may still be merged with it.
 */
static void merge_pair(struct ksm_domain *domain, struct ksm_record *record,
		       struct ksm_record *other, const struct ksm_content *content)
{
	struct ksm_record *first = record, *second = other;
	enum ksm_result result = share_first(domain, first, content);

	if (result == KSM_UNWILLING) {
		swap(first, second);
		result = share_first(domain, first, content);
	}
	if (result != KSM_MERGED || join_shared(domain, first, second) == KSM_MERGED)
		return;
	break_share(domain, first);
	/* It stood in the way: let it leave its place to @record. */
	ksm_record_unshare(domain, other);
	ksm_unstable_insert(&domain->unstable, record);
}

/*
 * A record stands in the unstable tree by the sample of its page, which another
 * content has as well: make it stand there by the whole page.
 */
static void convert(struct ksm_domain *domain, struct ksm_record *record)
{
	struct ksm_subject subject;
	u64 sample, key;

	ksm_unstable_remove(&domain->unstable, record);
	if (!subject_get(&subject, record))
		return;
	sample = key_of(subject.page, ksm_sample);
	key = key_of(subject.page, ksm_fingerprint);
	subject_put(&subject);
	if (ksm_tag(sample) != record->tag) {
		record->tag = ksm_tag(sample);
		return;
	}
	record->tag = ksm_tag(key);
	record->full = true;
	/* Where its like stands there, the next look at this page will find that. */
	if (!ksm_unstable_find(&domain->unstable, record->tag, true))
		ksm_unstable_insert(&domain->unstable, record);
}

static void convert_sampled(struct ksm_domain *domain, u64 sample)
{
	struct ksm_record *record;
	unsigned int i;

	for (i = 0; i < KSM_MAX_CONVERSIONS; i++) {
		record = ksm_unstable_find(&domain->unstable, ksm_tag(sample), false);
		if (!record)
			return;
		convert(domain, record);
	}
}

/*
 * The page of @record is settled and in no tree, its tag that of @content.  Where
 * its like cannot be merged with it now, it stays out of the table: one of them
 * in there is enough to be found by the next.  @page has a reference, dropped
 * here: nobody but its mappings may have one when it is merged.
 */
static enum ksm_result merge_unstable(struct ksm_domain *domain,
				      struct ksm_record *record, struct page *page,
				      const struct ksm_content *content)
{
	struct ksm_record *other;
	enum ksm_result result;

	if (content->whole)
		convert_sampled(domain, content->sample);
	result = find_other(domain, page, content, &other);
	if (result == KSM_MIXED)
		result = mixed_or_gone(page, content);
	put_page(page);
	if (result == KSM_MERGED)
		merge_pair(domain, record, other, content);
	else if (result == KSM_DIFFERENT)
		ksm_unstable_insert(&domain->unstable, record);
	return result;
}

/* Two contents turned out to have a sample: from now on whole pages are read. */
static void set_mixed(struct ksm_domain *domain, u64 sample)
{
	struct ksm_stable_node *node;
	struct folio *kfolio = shared_folio(domain, sample, &node);
	u64 fingerprint;

	ksm_unstable_set_mixed(&domain->unstable, ksm_tag(sample));
	if (!kfolio)
		return;
	fingerprint = hash_of(&kfolio->page, ksm_fingerprint);
	ksm_stable_set_key(domain, sample, ksm_key_on_node(fingerprint, node->nid));
	folio_put(kfolio);
}

/* On another NUMA node the sample may be that of another content. */
static void rekey_shared(struct ksm_domain *domain, struct ksm_stable_node *node,
			 const struct folio *folio)
{
	if (node->nid != ksm_page_nid(&folio->page) && node->key == node->sample)
		set_mixed(domain, node->sample);
	ksm_stable_rekey(domain, node, folio);
}

/*
 * A shared page turns up where no scan saw it before: after a fork, or where it
 * was swapped in again.  It keeps its mapping whatever max_page_sharing says.
 */
static void adopt_shared(struct ksm_domain *domain, struct ksm_record *record,
			 struct ksm_subject *subject)
{
	struct folio *folio = page_folio(subject->page);
	struct ksm_stable_node *node;
	struct ksm_rmap_item *item;

	if (record->state == KSM_SHARED && record->item->node &&
	    record->item->node == ksm_folio_node(folio)) {
		rekey_shared(domain, record->item->node, folio);
		return;
	}
	ksm_record_unshare(domain, record);
	item = ksm_item_alloc();
	if (!item || !folio_trylock(folio)) {
		ksm_item_free(item);
		return;
	}
	node = ksm_folio_node(folio);
	if (node) {
		item_fill(item, subject);
		record_share(domain, record, node, item);
		rekey_shared(domain, node, folio);
	} else {
		ksm_item_free(item);
	}
	folio_unlock(folio);
}

/* Compare a page with what the record says, and note what it holds now. */
static bool record_settled(struct ksm_domain *domain, struct ksm_record *record,
			   const struct ksm_content *content, bool settled)
{
	if (record->full && record->tag != ksm_tag(content->key))
		settled = false;
	ksm_record_unshare(domain, record);
	record->full = settled && content->whole;
	record->tag = ksm_tag(record->full ? content->key : content->sample);
	return settled;
}

/*
 * Merge with a page that is shared already.  KSM_DIFFERENT means that there is
 * none with room, KSM_MIXED that all of the page has to be read to find one.
 */
static enum ksm_result merge_stable(struct ksm_domain *domain, struct ksm_record *record,
				    struct ksm_subject *subject,
				    const struct ksm_content *content)
{
	enum ksm_result result = merge_key(domain, record, subject, content->sample);

	if (result == KSM_DIFFERENT &&
	    differs_from_shared(domain, subject->page, content->sample))
		result = KSM_MIXED;
	if (result == KSM_MIXED)
		return mixed_or_gone(subject->page, content);
	if (result != KSM_DIFFERENT || !content->whole)
		return result;
	result = merge_key(domain, record, subject, content->key);
	return result == KSM_MIXED ? KSM_BUSY : result;
}

static enum ksm_result merge_known(struct ksm_domain *domain, struct ksm_record *record,
				   struct ksm_subject *subject,
				   const struct ksm_content *content, bool settled)
{
	int nid = ksm_page_nid(subject->page);

	if (content->whole && content->key == ksm_key_on_node(ksm.zero, nid)) {
		/* Zeroed pages are often about to be written to. */
		if (!settled)
			return KSM_BUSY;
		if (merge_zero(domain, record, subject))
			return KSM_MERGED;
	}
	return merge_stable(domain, record, subject, content);
}

static enum ksm_result cmp_and_merge(struct ksm_domain *domain, struct ksm_record *record,
				     struct ksm_content *content, bool settled)
{
	struct ksm_subject subject;
	enum ksm_result result;

	if (!subject_get(&subject, record)) {
		ksm_record_forget(domain, record);
		return KSM_GONE;
	}
	if (PageKsm(subject.page)) {
		adopt_shared(domain, record, &subject);
		subject_put(&subject);
		return KSM_MERGED;
	}
	if (record->state == KSM_SHARED) {
		ksm_record_unshare(domain, record);
		record->full = false;
	}
	if (!content->sample)
		content->sample = key_of(subject.page, ksm_sample);
	content->key = content->sample;
	if (ksm_unstable_mixed(&domain->unstable, ksm_tag(content->sample)))
		read_whole(content, subject.page);
	settled = record_settled(domain, record, content, settled);
	result = merge_known(domain, record, &subject, content, settled);
	if (!settled || result != KSM_DIFFERENT) {
		subject_put(&subject);
		return result;
	}
	get_page(subject.page);
	subject_put(&subject);
	return merge_unstable(domain, record, subject.page, content);
}

/**
 * ksm_cmp_and_merge - merge a page with its like, if there is one
 * @domain: the trees
 * @candidate: the page
 *
 * First the pages that are shared already are asked, then those in the unstable
 * tree, which the page joins where it finds nothing.
 *
 * Most samples belong to a single content, and what is found by one is compared
 * without further ado.  Where it differs, pages with that sample are looked up
 * by a fingerprint of all they hold.
 *
 * Context: ksmd; may sleep; under ksm.lock, with no mmap_lock held.
 */
void ksm_cmp_and_merge(struct ksm_domain *domain, struct ksm_candidate *candidate)
{
	struct ksm_content content = { .sample = candidate->sample };
	struct ksm_record *record = candidate->record;
	const u8 skips = record->skips;

	if (cmp_and_merge(domain, record, &content, candidate->settled) == KSM_MIXED) {
		set_mixed(domain, content.sample);
		cmp_and_merge(domain, record, &content, candidate->settled);
	}
	/* It is back in the table, where its like will find it meanwhile. */
	if (record->state == KSM_UNSHARED)
		record->skips = skips;
}

/* Whether an entry maps a page of ours, or will once its migration is over. */
static bool pte_is_shared(struct vm_area_struct *vma, unsigned long address, pte_t pte)
{
	struct page *page;

	if (pte_none(pte))
		return false;
	if (pte_present(pte)) {
		page = vm_normal_page(vma, address, pte);
		return page ? PageKsm(page) : is_ksm_zero_pte(pte);
	}
	if (!is_migration_entry(pte_to_swp_entry(pte)))
		return false;
	return folio_test_ksm(pfn_swap_entry_folio(pte_to_swp_entry(pte)));
}

static int break_pmd_entry(pmd_t *pmd, unsigned long address, unsigned long end,
			   struct mm_walk *walk)
{
	unsigned long *found = walk->private;
	pte_t *start, *pte;
	spinlock_t *ptl;	/* of the page table */
	int shared = 0;

	start = pte_offset_map_lock(walk->mm, pmd, address, &ptl);
	if (!start)
		return 0;
	for (pte = start; address < end; pte++, address += PAGE_SIZE) {
		if (pte_is_shared(walk->vma, address, ptep_get(pte))) {
			*found = address;
			shared = 1;
			break;
		}
	}
	pte_unmap_unlock(start, ptl);
	return shared;
}

static const struct mm_walk_ops break_ops = {
	.pmd_entry = break_pmd_entry,
	.walk_lock = PGWALK_RDLOCK,
};

/**
 * ksm_break_range - give the pages of a range back to it, each as its own
 * @vma: a mergeable area
 * @start: first address
 * @end: address behind the last
 *
 * A fault may back out, for instance while a page migrates; the walk then finds
 * the page again.
 *
 * Context: may sleep; mmap_lock held.  Where ksmd is not kept out by ksm.lock or
 * by holding mmap_lock for writing, pages may be merged behind the walk.
 * Return: 0, -ENOMEM, or -ERESTARTSYS where a signal has arrived.
 */
int ksm_break_range(struct vm_area_struct *vma, unsigned long start,
		    unsigned long end)
{
	mmap_assert_locked(vma->vm_mm);
	while (start < end && !ksm_mm_exiting(vma->vm_mm)) {
		vm_fault_t fault;

		if (signal_pending(current))
			return -ERESTARTSYS;
		if (walk_page_range_vma(vma, start, end, &break_ops, &start) <= 0)
			return 0;
		fault = handle_mm_fault(vma, start,
					FAULT_FLAG_UNSHARE | FAULT_FLAG_REMOTE, NULL);
		if (fault & VM_FAULT_OOM)
			return -ENOMEM;
		/* The page is poisoned, or its backing was truncated: leave it. */
		if (fault & VM_FAULT_ERROR)
			start += PAGE_SIZE;
		cond_resched();
	}
	return 0;
}
