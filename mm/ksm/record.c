// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: records of the pages that have been scanned.
 *
 * A record takes 16 bytes.  It contains neither its mm nor its address.  Those are
 * in the leaf, which has the records of up to KSM_LEAF_PAGES neighbouring pages
 * and comes in a few sizes, so that a page without neighbours takes little more
 * than its record.  The leaves of an mm form a list in the order of addresses,
 * which is the order of a scan.
 *
 * The address of a record does not change while its leaf exists.  A leaf is
 * replaced by a larger one when pages have appeared for which it has no record,
 * and by a smaller one, at the end of its scan, when enough records are free.
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
 * ksm_leaf_capacity - the number of records that a leaf has space for
 * @class: size class, below KSM_LEAF_CLASSES
 *
 * Return: the number.
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
						      leaf_size(class), 0,
						      SLAB_ACCOUNT, NULL);
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
 * ksm_leaf_of - the leaf of a record
 * @record: a record
 *
 * Return: its leaf.
 */
struct ksm_leaf *ksm_leaf_of(const struct ksm_record *record)
{
	return container_of(record - record->slot, struct ksm_leaf, record[0]);
}

/**
 * ksm_leaf_start - the first address of the range of a leaf
 * @leaf: a leaf
 *
 * Return: the address.
 */
unsigned long ksm_leaf_start(const struct ksm_leaf *leaf)
{
	return (unsigned long)leaf->range << (PAGE_SHIFT + KSM_LEAF_SHIFT);
}

/**
 * ksm_record_address - the address of the page of a record
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
 * ksm_record_slot - the slot of the mm of the page of a record
 * @record: any record
 *
 * Return: the slot.
 */
struct ksm_mm_slot *ksm_record_slot(const struct ksm_record *record)
{
	return ksm_leaf_of(record)->owner;
}

/**
 * ksm_record_mm - the mm of the page of a record
 * @record: a record
 *
 * Return: the mm, which its mm_slot keeps from being freed.
 */
struct mm_struct *ksm_record_mm(const struct ksm_record *record)
{
	return ksm_record_slot(record)->slot.mm;
}

/**
 * ksm_record_seen - put a free record into use
 * @domain: the counters
 * @record: a free record; becomes %KSM_SEEN
 *
 * Context: any; under ksm.lock.
 */
void ksm_record_seen(struct ksm_domain *domain, struct ksm_record *record)
{
	record->state = KSM_SEEN;
	record->age = 0;
	record->skips = 0;
	record->rewrites = 0;
	ksm_leaf_of(record)->skips = 0;
	domain->counters.records++;
	domain->counters.changed++;
	ksm_record_mm(record)->ksm_rmap_items++;
}

/**
 * ksm_record_set_reason - note why a page was not merged
 * @record: its record; nothing is noted unless it is %KSM_SEEN
 * @reason: an enum ksm_skip; 0, which is %KSM_SKIP_CHANGED, is that of a new record
 *
 * The slot counts the pages of each reason but 0.  A page that smart_scan skips keeps
 * its reason and is counted, too.
 *
 * Context: any; under ksm.lock.
 */
void ksm_record_set_reason(struct ksm_record *record, u8 reason)
{
	struct ksm_mm_slot *owner;

	if (record->state != KSM_SEEN || record->reason == reason)
		return;
	owner = ksm_record_slot(record);
	if (record->reason)
		owner->nr_skipped[record->reason]--;
	if (reason)
		owner->nr_skipped[reason]++;
	record->reason = reason;
}

/**
 * ksm_record_insert - insert a record in the unstable index
 * @domain: the index
 * @record: %KSM_SEEN, with @tag and @full set; becomes %KSM_UNSHARED
 *
 * Context: any; under ksm.lock.
 */
void ksm_record_insert(struct ksm_domain *domain, struct ksm_record *record)
{
	ksm_record_set_reason(record, 0);
	ksm_unstable_insert(&domain->unstable, record);
	ksm_record_slot(record)->nr_unshared++;
}

/**
 * ksm_record_remove - take a record out of the unstable index
 * @domain: the index
 * @record: %KSM_UNSHARED; becomes %KSM_SEEN
 *
 * Context: any; under ksm.lock.
 */
void ksm_record_remove(struct ksm_domain *domain, struct ksm_record *record)
{
	ksm_unstable_remove(&domain->unstable, record);
	ksm_record_slot(record)->nr_unshared--;
	ksm_leaf_of(record)->skips = 0;
}

/**
 * ksm_record_changed - note that the content of a page has changed
 * @domain: the index and the counters
 * @record: %KSM_SEEN or %KSM_UNSHARED; becomes %KSM_SEEN
 * @tag: of the new sample
 *
 * The page is scanned again in each of the next passes, as a new one is.
 *
 * Context: any; under ksm.lock.
 */
void ksm_record_changed(struct ksm_domain *domain, struct ksm_record *record, u32 tag)
{
	domain->counters.changed++;
	if (record->state == KSM_UNSHARED)
		ksm_record_remove(domain, record);
	ksm_record_set_reason(record, 0);
	record->tag = tag;
	record->full = false;
	record->age = 0;
	record->skips = 0;
	ksm_leaf_of(record)->skips = 0;
}

static struct ksm_rmap_item *detach_item(struct ksm_domain *domain,
					 struct ksm_record *record)
{
	struct ksm_rmap_item *item = record->item;

	record->item = NULL;
	record->state = KSM_SEEN;
	record->age = 0;
	record->skips = 0;
	if (item->node)
		ksm_stable_detach(domain, item);
	return item;
}

/**
 * ksm_record_unshare - take a record out of the tree it is in
 * @domain: the trees
 * @record: not free; becomes %KSM_SEEN, with reason 0
 *
 * Context: may sleep if the record is %KSM_SHARED; under ksm.lock.
 */
void ksm_record_unshare(struct ksm_domain *domain, struct ksm_record *record)
{
	ksm_leaf_of(record)->skips = 0;
	switch ((enum ksm_state)record->state) {
	case KSM_UNSHARED:
		ksm_record_remove(domain, record);
		break;
	case KSM_SHARED:
		ksm_item_free(detach_item(domain, record));
		break;
	case KSM_SEEN:
		ksm_record_set_reason(record, 0);
		break;
	case KSM_NONE:
		break;
	}
}

static void leaf_note_forgotten(struct ksm_domain *domain, struct ksm_leaf *leaf,
				unsigned int nr)
{
	leaf->skips = 0;
	leaf->may_shrink = true;
	domain->counters.records -= nr;
	leaf->owner->slot.mm->ksm_rmap_items -= nr;
}

/**
 * ksm_record_forget - free a record
 * @domain: the trees and counters
 * @record: any record
 *
 * Context: may sleep if the record is %KSM_SHARED; under ksm.lock.
 */
void ksm_record_forget(struct ksm_domain *domain, struct ksm_record *record)
{
	if (record->state == KSM_NONE)
		return;
	ksm_record_unshare(domain, record);
	record->state = KSM_NONE;
	record->skips = 0;
	leaf_note_forgotten(domain, ksm_leaf_of(record), 1);
}

static struct ksm_leaf *leaf_alloc(struct ksm_domain *domain, struct ksm_mm_slot *owner,
				   unsigned int nr)
{
	struct mem_cgroup *old = ksm_charge_begin(owner->slot.mm);
	unsigned int class = class_for(nr);
	struct ksm_leaf *leaf;

	leaf = kmem_cache_zalloc(leaf_cache[class], GFP_NOWAIT | __GFP_NOWARN);
	ksm_charge_end(old);
	if (!leaf)
		return NULL;
	leaf->class = class;
	leaf->owner = owner;
	leaf->may_shrink = true;
	domain->counters.leaf_bytes += leaf_size(class);
	owner->leaf_bytes += leaf_size(class);
	return leaf;
}

static void leaf_free(struct ksm_domain *domain, struct ksm_leaf *leaf)
{
	domain->counters.leaf_bytes -= leaf_size(leaf->class);
	leaf->owner->leaf_bytes -= leaf_size(leaf->class);
	leaf->next = domain->dead_leaves;
	domain->dead_leaves = leaf;
}

/**
 * ksm_leaves_free - give back the memory of leaves that are not needed any more
 * @domain: the domain
 *
 * That may take long: when the page allocator gets one page, it may move thousands of
 * pages of this CPU to the free lists.
 *
 * Context: any; under ksm.lock, with no mmap_lock held.
 */
void ksm_leaves_free(struct ksm_domain *domain)
{
	struct ksm_leaf *leaf;

	while ((leaf = domain->dead_leaves)) {
		domain->dead_leaves = leaf->next;
		kmem_cache_free(leaf_cache[leaf->class], leaf);
	}
}

/* The pages whose records are in use. */
static u64 leaf_offsets(const struct ksm_leaf *leaf)
{
	u64 offsets = 0;
	unsigned int i;

	for (i = 0; i < leaf->nr; i++)
		if (leaf->record[i].state != KSM_NONE)
			offsets |= BIT_ULL(leaf->record[i].offset);
	return offsets;
}

/* Both leaves have the same range, and @to has each offset that is in use. */
static void move_records(struct ksm_domain *domain, struct ksm_leaf *to,
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
 * ksm_leaf_covers - whether an address is in the range of a leaf
 * @leaf: a leaf, or NULL
 * @address: a user address
 *
 * Return: true if it is.
 */
bool ksm_leaf_covers(const struct ksm_leaf *leaf, unsigned long address)
{
	return leaf && leaf->range == address >> (PAGE_SHIFT + KSM_LEAF_SHIFT);
}

/**
 * ksm_leaf_extend - make sure that there are records for some pages
 * @domain: the trees and counters
 * @owner: the slot of the mm
 * @link: where the leaf is linked, or is to be linked
 * @address: any address of the leaf's range
 * @offsets: a bit for each page of the range that needs a record
 *
 * New records are free, and free records that are not needed go.  Afterwards no
 * pointer to the leaf or to one of its records is valid.
 *
 * The memory is charged to the memory cgroup of the mm.  A cgroup at its limit
 * gets none: its pages stay as they are, unmerged.
 *
 * Context: any; under ksm.lock.
 * Return: 0, or -ENOMEM and nothing has changed.
 */
int ksm_leaf_extend(struct ksm_domain *domain, struct ksm_mm_slot *owner,
		    struct ksm_leaf **link, unsigned long address, u64 offsets)
{
	struct ksm_leaf *old = ksm_leaf_covers(*link, address) ? *link : NULL;
	struct ksm_leaf *leaf;

	if (old)
		offsets |= leaf_offsets(old);
	leaf = leaf_alloc(domain, owner, hweight64(offsets));
	if (!leaf)
		return -ENOMEM;
	leaf->range = address >> (PAGE_SHIFT + KSM_LEAF_SHIFT);
	for (; offsets; offsets &= offsets - 1) {
		leaf->record[leaf->nr].offset = __ffs64(offsets);
		leaf->record[leaf->nr].slot = leaf->nr;
		leaf->nr++;
	}
	leaf->next = *link;
	if (old) {
		move_records(domain, leaf, old);
		leaf->next = old->next;
		leaf_free(domain, old);
	}
	*link = leaf;
	return 0;
}

/* The first address behind the range of a leaf may be 0: compare the last one. */
static unsigned long leaf_last(const struct ksm_leaf *leaf)
{
	return ksm_leaf_start(leaf) + KSM_LEAF_BYTES - 1;
}

/*
 * Forget the records of the pages from offset @from to offset @to.  To free their
 * rmap_items together takes fewer instructions, since many are of one slab.
 */
static void leaf_forget(struct ksm_domain *domain, struct ksm_leaf *leaf,
			unsigned int from, unsigned int to)
{
	struct ksm_rmap_item *items[KSM_LEAF_PAGES];
	unsigned int i, nr = 0, nr_forgotten = 0;

	for (i = 0; i < leaf->nr; i++) {
		struct ksm_record *record = &leaf->record[i];

		if (record->offset < from || record->offset > to ||
		    record->state == KSM_NONE)
			continue;
		if (record->state == KSM_SHARED)
			items[nr++] = detach_item(domain, record);
		else
			ksm_record_unshare(domain, record);
		record->state = KSM_NONE;
		record->skips = 0;
		nr_forgotten++;
	}
	if (nr_forgotten)
		leaf_note_forgotten(domain, leaf, nr_forgotten);
	ksm_items_free(items, nr);
}

/* Free a leaf without records in use, or replace it by one of the size it needs. */
static void leaf_shrink(struct ksm_domain *domain, struct ksm_leaf **link)
{
	struct ksm_leaf *leaf = *link;
	const unsigned int nr = hweight64(leaf_offsets(leaf));

	if (!nr) {
		*link = leaf->next;
		leaf_free(domain, leaf);
	} else if (class_for(nr) == leaf->class) {
		leaf->may_shrink = false;
	} else if (!ksm_leaf_extend(domain, leaf->owner, link, ksm_leaf_start(leaf), 0)) {
		(*link)->may_shrink = false;
	}
}

/* All pages at lower addresses than @done have been scanned or forgotten. */
static void cursor_advance(struct ksm_domain *domain, struct ksm_leaf_cursor *cursor,
			   unsigned long done)
{
	struct ksm_leaf *leaf = *cursor->link;

	cursor->done = done;
	if (!leaf || leaf_last(leaf) >= done)
		return;
	if (leaf->may_shrink)
		leaf_shrink(domain, cursor->link);
	/* If the leaf was freed, the link leads to the next one already. */
	leaf = *cursor->link;
	if (leaf && leaf_last(leaf) < done)
		cursor->link = &leaf->next;
	VM_WARN_ON_ONCE(*cursor->link && leaf_last(*cursor->link) < done);
}

/**
 * ksm_leaf_cursor_init - begin a pass over the leaves of an mm
 * @cursor: filled in
 * @slot: the slot of the mm
 *
 * Context: any; under ksm.lock.
 */
void ksm_leaf_cursor_init(struct ksm_leaf_cursor *cursor, struct ksm_mm_slot *slot)
{
	cursor->link = &slot->leaves;
	cursor->done = 0;
}

/**
 * ksm_leaf_cursor_forget - forget pages that are no longer there
 * @domain: the trees and counters
 * @cursor: the cursor
 * @address: the pages from @cursor->done up to here are forgotten
 * @budget: how many records may be gone through; less those that were.  All of a
 *          leaf is gone through even if that is more
 *
 * No pointer to a leaf at a lower address than @address is valid afterwards.
 *
 * Context: may sleep; under ksm.lock.
 * Return: true if @cursor->done is @address; otherwise the budget is used up.
 */
bool ksm_leaf_cursor_forget(struct ksm_domain *domain, struct ksm_leaf_cursor *cursor,
			    unsigned long address, unsigned int *budget)
{
	while (cursor->done < address) {
		struct ksm_leaf *leaf = *cursor->link;
		unsigned long start, last;

		if (!leaf || ksm_leaf_start(leaf) >= address) {
			cursor->done = address;
			break;
		}
		if (!*budget)
			return false;
		*budget -= min_t(unsigned int, *budget, leaf->nr);
		start = max(cursor->done, ksm_leaf_start(leaf));
		last = min(address - 1, leaf_last(leaf));
		leaf_forget(domain, leaf, ksm_leaf_offset(start), ksm_leaf_offset(last));
		cursor_advance(domain, cursor, last + 1);
	}
	return true;
}

/**
 * ksm_leaf_cursor_scanned - note that some pages have been scanned
 * @domain: the trees and counters
 * @cursor: the cursor
 * @address: end of the pages, in the range of the leaf of @cursor->done or right
 *           behind it
 *
 * If that was the last page of the leaf, the leaf is freed or made smaller where
 * possible.  No pointer to it is valid afterwards.  Candidates that point to its
 * records have to be merged before.
 *
 * Context: any; under ksm.lock.
 */
void ksm_leaf_cursor_scanned(struct ksm_domain *domain, struct ksm_leaf_cursor *cursor,
			     unsigned long address)
{
	cursor_advance(domain, cursor, address);
}

/**
 * ksm_leaf_cursor_leaf - the leaf of an address
 * @cursor: the cursor; @cursor->done is in the same range as @address
 * @address: the address
 *
 * Context: any; under ksm.lock.
 * Return: the leaf, or NULL if there is none.
 */
struct ksm_leaf *ksm_leaf_cursor_leaf(const struct ksm_leaf_cursor *cursor,
				      unsigned long address)
{
	struct ksm_leaf *leaf = *cursor->link;

	return ksm_leaf_covers(leaf, address) ? leaf : NULL;
}

/**
 * ksm_leaf_cursor_next_start - where the next leaf begins
 * @cursor: the cursor
 *
 * Context: any; under ksm.lock.
 * Return: the first address of its range, which may be less than @cursor->done,
 * or ULONG_MAX if there is no leaf any more.
 */
unsigned long ksm_leaf_cursor_next_start(const struct ksm_leaf_cursor *cursor)
{
	return *cursor->link ? ksm_leaf_start(*cursor->link) : ULONG_MAX;
}

#include "tests/record-kunit.h"
