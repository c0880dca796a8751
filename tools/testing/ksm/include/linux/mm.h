/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pages as a stable node sees them: a number, a mapping, references, a lock,
 * and a rest of the kernel that may do something to them at any moment.
 */
#ifndef _KSM_TEST_LINUX_MM_H
#define _KSM_TEST_LINUX_MM_H

#include <linux/bitops.h>
#include <linux/bug.h>
#include <linux/const.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#ifndef KSM_TEST_PAGE_SHIFT
#define KSM_TEST_PAGE_SHIFT	12
#endif
#define PAGE_SHIFT		KSM_TEST_PAGE_SHIFT
#define PAGE_SIZE		(_AC(1, UL) << PAGE_SHIFT)

#define PAGE_MAPPING_ANON	0x1UL
#define PAGE_MAPPING_KSM	0x3UL
#define PAGE_MAPPING_FLAGS	0x3UL

/* Between two reads that are ordered, too, the rest of mm may act. */
#define smp_rmb()		shim_race()
/* Nothing is read between this and an smp_rmb(). */
#define smp_load_acquire(p)	READ_ONCE(*(p))

struct shim_swp_entry {
	unsigned long val;
};

#define swp_entry_t		struct shim_swp_entry

extern int nr_node_ids;

struct file;
struct vm_area_struct;
struct vma_iterator;

struct shim_pte {
	unsigned long value;
};

#define pte_t			struct shim_pte

struct mm_struct {
	struct mem_cgroup *memcg;
	unsigned long flags;
	unsigned long ksm_merging_pages;
	unsigned long ksm_rmap_items;
	atomic_long_t ksm_zero_pages;
};

/**
 * struct page - what a folio consists of, all of them of one
 * @nid: NUMA node it is on
 */
struct page {
	int nid;
};

/**
 * struct folio - a frame of the memory that a test has
 * @page: its page
 * @mapping: as in the kernel
 * @pfn: where it is
 * @refs: 0 where it is free, or frozen for the time of its migration
 * @mapcount: entries that map it
 * @swapcache: it is in the swap cache
 * @locked: somebody has its lock
 * @poisoned: it may not be read
 * @offline: it may not be looked at
 */
struct folio {
	struct page page;
	void *mapping;
	unsigned long pfn;
	int refs;
	int mapcount;
	bool swapcache;
	bool locked;
	bool poisoned;
	bool offline;
};

unsigned long totalram_pages(void);
long si_mem_available(void);

struct folio *pfn_folio(unsigned long pfn);
bool folio_try_get(struct folio *folio);
void folio_put(struct folio *folio);
bool folio_trylock(struct folio *folio);
void folio_lock(struct folio *folio);
void folio_unlock(struct folio *folio);

static inline unsigned long folio_pfn(const struct folio *folio)
{
	return folio->pfn;
}

static inline int folio_nid(const struct folio *folio)
{
	return folio->page.nid;
}

static inline int page_to_nid(const struct page *page)
{
	return page->nid;
}

static inline bool folio_mapped(const struct folio *folio)
{
	return folio->mapcount;
}

static inline bool folio_test_swapcache(const struct folio *folio)
{
	return folio->swapcache;
}

static inline bool folio_test_hwpoison(const struct folio *folio)
{
	return folio->poisoned;
}

static inline bool folio_test_ksm(const struct folio *folio)
{
	return ((unsigned long)folio->mapping & PAGE_MAPPING_FLAGS) == PAGE_MAPPING_KSM;
}

static inline bool pte_dirty(pte_t pte)
{
	return pte.value & 1;
}

static inline unsigned long pte_pfn(pte_t pte)
{
	return pte.value >> PAGE_SHIFT;
}

static inline bool is_zero_pfn(unsigned long pfn)
{
	return !pfn;
}

static inline void atomic_long_set(atomic_long_t *v, long value)
{
	v->counter = value;
}

static inline long atomic_long_read(const atomic_long_t *v)
{
	return v->counter;
}

static inline void atomic_long_inc(atomic_long_t *v)
{
	v->counter++;
}

static inline void atomic_long_dec(atomic_long_t *v)
{
	v->counter--;
}

#endif /* _KSM_TEST_LINUX_MM_H */
