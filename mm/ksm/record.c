// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: records of the pages that scans came across.
 *
 * A record takes 16 bytes.  It knows neither its mm nor its address: those stand
 * once in the leaf, which holds the records of up to KSM_LEAF_PAGES neighbouring
 * pages and comes in a few sizes, so that a lonely page takes little more than
 * its record.  The leaves of an mm form a list in the order of addresses, which
 * is the order that scans go in.
 *
 * Records don't move while their leaf lives.  Where pages have appeared that a
 * leaf has no records for, a new leaf takes over from it.
 */

#include <linux/bitops.h>
#include <linux/bug.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "domain.h"
#include "record.h"
#include "slots.h"
#include "stable.h"

static struct kmem_cache *leaf_cache[KSM_LEAF_CLASSES];
static const char * const leaf_cache_name[KSM_LEAF_CLASSES] = {
	"ksm_leaf_1", "ksm_leaf_4", "ksm_leaf_16", "ksm_leaf_64",
};

/**
 * ksm_leaf_capacity - records that a leaf has room for
 * @class: size class, below KSM_LEAF_CLASSES
 *
 * Return: their number.
 */
unsigned int ksm_leaf_capacity(unsigned int class)
{
	return 1U << (2 * class);
}

static size_t leaf_size(unsigned int class)
{
	return struct_size_t(struct ksm_leaf, record, ksm_leaf_capacity(class));
}

static unsigned int class_for(unsigned int nr)
{
	unsigned int class = 0;

	while (ksm_leaf_capacity(class) < nr)
		class++;
	return class;
}

/**
 * ksm_record_init - create the caches of leaves
 *
 * Context: once, at boot.
 * Return: 0, or -ENOMEM.
 */
int __init ksm_record_init(void)
{
	unsigned int class;

	BUILD_BUG_ON(sizeof(struct ksm_record) > 16);
	BUILD_BUG_ON(1U << KSM_LEAF_SHIFT != KSM_LEAF_PAGES);
	BUILD_BUG_ON(sizeof(u64) * BITS_PER_BYTE < KSM_LEAF_PAGES);
	for (class = 0; class < KSM_LEAF_CLASSES; class++) {
		leaf_cache[class] = kmem_cache_create(leaf_cache_name[class],
						      leaf_size(class), 0, 0, NULL);
		if (!leaf_cache[class])
			goto fail;
	}
	return 0;
fail:
	while (class--)
		kmem_cache_destroy(leaf_cache[class]);
	return -ENOMEM;
}

/**
 * ksm_leaf_of - the leaf that a record stands in
 * @record: a record
 *
 * Return: its leaf.
 */
struct ksm_leaf *ksm_leaf_of(const struct ksm_record *record)
{
	return container_of(record - record->slot, struct ksm_leaf, record[0]);
}

/**
 * ksm_leaf_start - the first address that a leaf may have a record for
 * @leaf: a leaf
 *
 * Return: the address.
 */
unsigned long ksm_leaf_start(const struct ksm_leaf *leaf)
{
	return (unsigned long)leaf->range << (PAGE_SHIFT + KSM_LEAF_SHIFT);
}

/**
 * ksm_record_address - where the page of a record is
 * @record: a record
 *
 * Return: its user address.
 */
unsigned long ksm_record_address(const struct ksm_record *record)
{
	return ksm_leaf_start(ksm_leaf_of(record)) +
	       ((unsigned long)record->offset << PAGE_SHIFT);
}

/**
 * ksm_record_mm - whose page a record is about
 * @record: a record
 *
 * Return: the mm, kept from being freed by its mm_slot.
 */
struct mm_struct *ksm_record_mm(const struct ksm_record *record)
{
	return ksm_leaf_of(record)->owner->slot.mm;
}

/**
 * ksm_record_seen - begin to keep what is known of a page
 * @domain: whose counters count it
 * @record: a free record
 *
 * Context: any; under ksm.lock.
 */
void ksm_record_seen(struct ksm_domain *domain, struct ksm_record *record)
{
	record->state = KSM_SEEN;
	record->age = 0;
	record->skips = 0;
	domain->counters.records++;
	domain->counters.changed++;
	ksm_record_mm(record)->ksm_rmap_items++;
}

/**
 * ksm_record_unshare - take a record out of the tree it is in
 * @domain: the trees
 * @record: not free; becomes KSM_SEEN
 *
 * Context: may sleep where the record is KSM_SHARED; under ksm.lock.
 */
void ksm_record_unshare(struct ksm_domain *domain, struct ksm_record *record)
{
	struct ksm_rmap_item *item;

	switch ((enum ksm_state)record->state) {
	case KSM_UNSHARED:
		ksm_unstable_remove(&domain->unstable, record);
		break;
	case KSM_SHARED:
		item = record->item;
		record->item = NULL;
		record->state = KSM_SEEN;
		ksm_stable_detach(domain, item);
		ksm_item_free(item);
		break;
	case KSM_NONE:
	case KSM_SEEN:
		break;
	}
}

/**
 * ksm_record_forget - free a record
 * @domain: the trees and counters
 * @record: any record
 *
 * Context: may sleep where the record is KSM_SHARED; under ksm.lock.
 */
void ksm_record_forget(struct ksm_domain *domain, struct ksm_record *record)
{
	if (record->state == KSM_NONE)
		return;
	ksm_record_unshare(domain, record);
	record->state = KSM_NONE;
	domain->counters.records--;
	ksm_record_mm(record)->ksm_rmap_items--;
}

static struct ksm_leaf *leaf_alloc(struct ksm_domain *domain, unsigned int nr)
{
	unsigned int class = class_for(nr);
	struct ksm_leaf *leaf;

	leaf = kmem_cache_zalloc(leaf_cache[class],
				 GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
	if (!leaf)
		return NULL;
	leaf->class = class;
	domain->counters.leaf_bytes += leaf_size(class);
	return leaf;
}

static void leaf_free(struct ksm_domain *domain, struct ksm_leaf *leaf)
{
	domain->counters.leaf_bytes -= leaf_size(leaf->class);
	kmem_cache_free(leaf_cache[leaf->class], leaf);
}

static u64 leaf_offsets(const struct ksm_leaf *leaf)
{
	u64 offsets = 0;
	unsigned int i;

	for (i = 0; i < leaf->nr; i++)
		if (leaf->record[i].state != KSM_NONE)
			offsets |= BIT_ULL(leaf->record[i].offset);
	return offsets;
}

/* Both leaves are of one range, and @to has every offset that is in use. */
static void leaf_take_over(struct ksm_domain *domain, struct ksm_leaf *to,
			   struct ksm_leaf *from)
{
	struct ksm_record *record = to->record;
	unsigned int i;

	for (i = 0; i < from->nr; i++) {
		struct ksm_record *old = &from->record[i];

		if (old->state == KSM_NONE)
			continue;
		while (record->offset != old->offset)
			record++;
		*record = *old;
		record->slot = record - to->record;
		if (record->state == KSM_UNSHARED)
			ksm_unstable_move(&domain->unstable, old, record);
	}
}

/**
 * ksm_leaf_covers - whether an address lies in the range of a leaf
 * @leaf: a leaf, or NULL
 * @address: a user address
 *
 * Return: true where it does.
 */
bool ksm_leaf_covers(const struct ksm_leaf *leaf, unsigned long address)
{
	return leaf && leaf->range == address >> (PAGE_SHIFT + KSM_LEAF_SHIFT);
}

/**
 * ksm_leaf_extend - make sure that there are records for some pages
 * @domain: the trees and counters
 * @owner: whose leaf it is
 * @link: where the leaf is linked, or is to be
 * @address: any address of the leaf's range
 * @offsets: a bit for each page of the range that needs a record
 *
 * Records that are new are free.  Pointers to records of this leaf no longer
 * hold afterwards.
 *
 * Context: may sleep; under ksm.lock.
 * Return: 0, or -ENOMEM and nothing has changed.
 */
int ksm_leaf_extend(struct ksm_domain *domain, struct ksm_mm_slot *owner,
		    struct ksm_leaf **link, unsigned long address, u64 offsets)
{
	struct ksm_leaf *old = ksm_leaf_covers(*link, address) ? *link : NULL;
	struct ksm_leaf *leaf;

	if (old)
		offsets |= leaf_offsets(old);
	leaf = leaf_alloc(domain, hweight64(offsets));
	if (!leaf)
		return -ENOMEM;
	leaf->owner = owner;
	leaf->range = address >> (PAGE_SHIFT + KSM_LEAF_SHIFT);
	for (; offsets; offsets &= offsets - 1) {
		leaf->record[leaf->nr].offset = __ffs64(offsets);
		leaf->record[leaf->nr].slot = leaf->nr;
		leaf->nr++;
	}
	leaf->next = *link;
	if (old) {
		leaf_take_over(domain, leaf, old);
		leaf->next = old->next;
		leaf_free(domain, old);
	}
	*link = leaf;
	return 0;
}

/**
 * ksm_leaf_free_empty - free a leaf that has no record in use
 * @domain: the counters
 * @link: where the leaf is linked
 *
 * Context: any; under ksm.lock.
 * Return: true where it was freed and @link leads to the next one.
 */
bool ksm_leaf_free_empty(struct ksm_domain *domain, struct ksm_leaf **link)
{
	struct ksm_leaf *leaf = *link;
	unsigned int i;

	for (i = 0; i < leaf->nr; i++)
		if (leaf->record[i].state != KSM_NONE)
			return false;
	*link = leaf->next;
	leaf_free(domain, leaf);
	return true;
}

/**
 * ksm_leaf_forget - forget the records of some pages of a leaf
 * @domain: the trees and counters
 * @leaf: the leaf
 * @from: first page of its range
 * @to: page behind the last
 *
 * Context: may sleep; under ksm.lock.
 */
void ksm_leaf_forget(struct ksm_domain *domain, struct ksm_leaf *leaf,
		     unsigned int from, unsigned int to)
{
	unsigned int i;

	if (from >= to)
		return;
	for (i = 0; i < leaf->nr; i++)
		if (leaf->record[i].offset >= from && leaf->record[i].offset < to)
			ksm_record_forget(domain, &leaf->record[i]);
}

/**
 * ksm_leaves_forget - forget all that lies before an address
 * @domain: the trees and counters
 * @link: where the first leaf to free is linked
 * @end: leaves whose range begins here or further on stay
 *
 * Context: may sleep; under ksm.lock.
 */
void ksm_leaves_forget(struct ksm_domain *domain, struct ksm_leaf **link,
		       unsigned long end)
{
	while (*link && ksm_leaf_start(*link) < end) {
		ksm_leaf_forget(domain, *link, 0, KSM_LEAF_PAGES);
		ksm_leaf_free_empty(domain, link);
		cond_resched();
	}
}

#include "tests/record-kunit.h"
