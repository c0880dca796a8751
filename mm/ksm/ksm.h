/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: what its rooms share.
 *
 * Locks, outermost first:
 *
 *   ksm.lock            mutex; a batch of ksmd, an unmerge through sysfs, a
 *                       change of a knob that reshapes the trees or of the
 *                       advisor's mode.  Guards the records, both trees, every
 *                       counter and the advisor.
 *     mmap_lock         of one mm at a time, for reading
 *       folio lock      ksmd only tries to take one while it holds another
 *         page table lock
 *     ksm.slots_lock    spinlock; the list and hash of mm_slots and the slot
 *                       the scan stands at
 *
 * The rmap_items of a stable node change under ksm.lock and the lock of its
 * folio; a reverse map walk holds only the latter.
 *
 * Who owns what: an mm_slot owns the leaves of its mm, a leaf its records, a
 * record in state KSM_SHARED its rmap_item.  A stable node owns nothing: it
 * lists rmap_items, and knows its page by number without holding a reference.
 */
#ifndef _MM_KSM_H
#define _MM_KSM_H

#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "../mm_slot.h"

struct anon_vma;

/* fingerprint.c */

/* Words of secret that one block of a page is hashed with. */
#define KSM_KEY_WORDS		128
/* Cache lines of a page that make up its sample. */
#define KSM_SAMPLE_LINES	4
#define KSM_SAMPLE_WORDS	8

/**
 * struct ksm_key - the secret of this boot that fingerprints depend on
 * @word: addends of the hash
 * @fold: odd multipliers: one chains blocks, one spreads the result
 * @line: byte offset in a page of each sampled line
 */
struct ksm_key {
	u64 word[KSM_KEY_WORDS];
	u64 fold[2];
	unsigned int line[KSM_SAMPLE_LINES];
};

#ifdef CONFIG_KSM_AVX2
void ksm_hash_begin(void);
void ksm_hash_end(void);
#else
static inline void ksm_hash_begin(void)
{
}

static inline void ksm_hash_end(void)
{
}
#endif

void ksm_key_init(struct ksm_key *key);
u64 ksm_fingerprint(const struct ksm_key *key, const void *addr);
u64 ksm_sample(const struct ksm_key *key, const void *addr);
bool ksm_equal(const void *one, const void *other);
void ksm_fingerprint_init(void);

/* avx2.c */
u64 ksm_avx2_sum(const u64 *text, const u64 *secret);
u64 ksm_avx2_sum_lines(const struct ksm_key *key, const void *addr);
bool ksm_avx2_equal(const u64 *a, const u64 *b);

/* record.c */

/* A leaf has room for the pages of one aligned range of this many. */
#define KSM_LEAF_SHIFT		6
#define KSM_LEAF_PAGES		64U
#define KSM_LEAF_BYTES		(PAGE_SIZE << KSM_LEAF_SHIFT)
#define KSM_LEAF_CLASSES	4

struct ksm_domain;

/**
 * enum ksm_state - what is known of a page
 * @KSM_NONE: nothing; the record is free
 * @KSM_SEEN: read once, or its content changed, or no merge is possible
 * @KSM_UNSHARED: unchanged when read again; in the unstable tree
 * @KSM_SHARED: merged; the record points to an rmap_item
 */
enum ksm_state {
	KSM_NONE,
	KSM_SEEN,
	KSM_UNSHARED,
	KSM_SHARED,
};

/**
 * struct ksm_record - a page of an mm that a scan came across
 * @next: in state KSM_UNSHARED, the next record of its bucket
 * @item: in state KSM_SHARED, the reverse mapping
 * @tag: what the page held when last read, the top half of a fingerprint
 * @offset: which page of the leaf's range
 * @slot: which record of the leaf
 * @skips: passes to leave the page alone for
 * @age: how often a look at the page was in vain, saturating
 * @full: @tag is of the whole page, not of its sample
 * @state: an enum ksm_state
 */
struct ksm_record {
	union {
		struct ksm_record *next;
		struct ksm_rmap_item *item;
	};
	u32 tag;
	u8 offset;
	u8 slot;
	u8 skips;
	u8 age:5;
	u8 full:1;
	u8 state:2;
};

/**
 * struct ksm_leaf - records of neighbouring pages, in the order of addresses
 * @next: the leaf behind, in the same mm
 * @owner: whose pages these are
 * @range: first address of the range >> (PAGE_SHIFT + KSM_LEAF_SHIFT)
 * @class: size class, see ksm_leaf_capacity()
 * @nr: records in @record, free ones included
 * @record: the records, ascending by @offset
 */
struct ksm_leaf {
	struct ksm_leaf *next;
	struct ksm_mm_slot *owner;
	u64 range:48;
	u64 class:8;
	u64 nr:8;
	struct ksm_record record[];
};

/**
 * struct ksm_mm_slot - an mm that may hold mergeable areas
 * @slot: link from the mm, and into the list of all slots
 * @leaves: its leaves, in the order of addresses
 */
struct ksm_mm_slot {
	struct mm_slot slot;
	struct ksm_leaf *leaves;
};

int ksm_record_init(void);
unsigned int ksm_leaf_capacity(unsigned int class);
struct ksm_leaf *ksm_leaf_of(const struct ksm_record *record);
unsigned long ksm_leaf_start(const struct ksm_leaf *leaf);
bool ksm_leaf_covers(const struct ksm_leaf *leaf, unsigned long address);
unsigned long ksm_record_address(const struct ksm_record *record);
struct mm_struct *ksm_record_mm(const struct ksm_record *record);
void ksm_record_seen(struct ksm_domain *domain, struct ksm_record *record);
void ksm_record_unshare(struct ksm_domain *domain, struct ksm_record *record);
void ksm_record_forget(struct ksm_domain *domain, struct ksm_record *record);
int ksm_leaf_extend(struct ksm_domain *domain, struct ksm_mm_slot *owner,
		    struct ksm_leaf **link, unsigned long address, u64 offsets);
bool ksm_leaf_free_empty(struct ksm_domain *domain, struct ksm_leaf **link);
void ksm_leaf_forget(struct ksm_domain *domain, struct ksm_leaf *leaf,
		     unsigned int from, unsigned int to);
void ksm_leaves_forget(struct ksm_domain *domain, struct ksm_leaf **link,
		       unsigned long end);

/* unstable.c */

/**
 * struct ksm_unstable - pages that may have their like, found by tag
 * @bucket: heads of chains of records; a tag's top bits choose one
 * @met: the filter: what was found out about samples and contents
 * @bits: log2 of the number of buckets
 * @most: records beyond which it has to grow
 * @nr: records in it
 * @nr_met: bits set in @met
 */
struct ksm_unstable {
	struct ksm_record **bucket;
	unsigned long *met;
	unsigned int bits;
	unsigned long most;
	unsigned long nr;
	unsigned long nr_met;
};

int ksm_unstable_init(struct ksm_unstable *unstable);
void ksm_unstable_shrink(struct ksm_unstable *unstable);
void ksm_unstable_reserve(struct ksm_unstable *unstable, unsigned long nr_nodes);
void ksm_unstable_insert(struct ksm_unstable *unstable, struct ksm_record *record);
void ksm_unstable_remove(struct ksm_unstable *unstable, struct ksm_record *record);
void ksm_unstable_move(struct ksm_unstable *unstable, struct ksm_record *from,
		       struct ksm_record *to);
struct ksm_record *ksm_unstable_find(const struct ksm_unstable *unstable,
				     u32 tag, bool full);
struct ksm_record *ksm_unstable_next(struct ksm_record *record);
bool ksm_unstable_met(const struct ksm_unstable *unstable, u32 tag);
void ksm_unstable_set_met(struct ksm_unstable *unstable, u32 tag);
bool ksm_unstable_mixed(const struct ksm_unstable *unstable, u32 tag);
void ksm_unstable_set_mixed(struct ksm_unstable *unstable, u32 tag);
bool ksm_unstable_met_crowded(const struct ksm_unstable *unstable);
void ksm_unstable_clear_met(struct ksm_unstable *unstable);
unsigned long ksm_unstable_bytes(const struct ksm_unstable *unstable);

/* stable.c */

/**
 * struct ksm_rmap_item - a mapping of a shared page
 * @link: in the rmap_items of @node
 * @node: the shared page, NULL once that page has gone
 * @anon_vma: where to look for mappings; a reference is held
 * @mm: the mm that the page was merged in
 * @address: where it was merged
 * @index: page offset that @address has in @anon_vma
 */
struct ksm_rmap_item {
	struct hlist_node link;
	struct ksm_stable_node *node;
	struct anon_vma *anon_vma;
	struct mm_struct *mm;
	unsigned long address;
	pgoff_t index;
};

/**
 * struct ksm_stable_node - a write-protected page that mappings share
 * @rb: in the stable tree, for the first node of a content
 * @dups: the other nodes of that content; also where they hang
 * @items: the rmap_items
 * @unmapped: in ksm_domain.unmapped while there is no rmap_item
 * @key: fingerprint of the content, for the pages of NUMA node @nid; or @sample
 * @sample: likewise, of the sample of the content
 * @kpfn: where the page is
 * @pruned: in jiffies, when the dups were last looked through
 * @nr_items: length of @items
 * @nid: NUMA node whose pages may share this one, 0 for all
 * @in_tree: @rb is linked
 */
struct ksm_stable_node {
	struct rb_node rb;
	struct list_head dups;
	struct hlist_head items;
	struct list_head unmapped;
	u64 key;
	u64 sample;
	unsigned long kpfn;
	unsigned long pruned;
	int nr_items;
	int nid;
	bool in_tree;
};

/**
 * struct ksm_counters - what the figures are made from; under ksm.lock
 * @records: records in use, of every state but KSM_NONE
 * @shared: stable nodes with an rmap_item
 * @sharing: rmap_items beyond the first of their node
 * @chains: contents with more than one stable node
 * @dups: the stable nodes of those
 * @scanned: pages looked at
 * @skipped: pages passed over because nothing speaks for a change
 * @fresh: pages that were new, had changed, or were merged, ever
 * @leaf_bytes: memory in leaves
 */
struct ksm_counters {
	unsigned long records;
	unsigned long shared;
	unsigned long sharing;
	unsigned long chains;
	unsigned long dups;
	unsigned long scanned;
	unsigned long skipped;
	unsigned long fresh;
	unsigned long leaf_bytes;
};

/**
 * struct ksm_domain - memory whose pages may be merged with each other
 * @stable: first nodes of each content, by key
 * @unmapped: stable nodes without an rmap_item, to be freed with their page
 * @unstable: the unstable tree
 * @counters: its figures
 */
struct ksm_domain {
	struct rb_root stable;
	struct list_head unmapped;
	struct ksm_unstable unstable;
	struct ksm_counters counters;
};

/* What ksm_stable_folio() does about the lock of the folio. */
enum ksm_folio_lock {
	KSM_FOLIO_NOLOCK,
	KSM_FOLIO_LOCK,
	KSM_FOLIO_TRYLOCK,
};

int ksm_stable_init(void);
struct ksm_stable_node *ksm_node_alloc(void);
void ksm_node_free(struct ksm_stable_node *node);
struct ksm_rmap_item *ksm_item_alloc(void);
void ksm_item_free(struct ksm_rmap_item *item);
struct ksm_stable_node *ksm_stable_find(const struct ksm_domain *domain, u64 key);
void ksm_stable_insert(struct ksm_domain *domain, struct ksm_stable_node *node,
		       struct folio *folio, u64 key, u64 sample);
void ksm_stable_rekey(struct ksm_domain *domain, struct ksm_stable_node *node,
		      const struct folio *folio);
struct folio *ksm_stable_folio(struct ksm_domain *domain,
			       struct ksm_stable_node *node,
			       enum ksm_folio_lock lock);
void ksm_stable_set_key(struct ksm_domain *domain, u64 from, u64 to);
struct folio *ksm_stable_candidate(struct ksm_domain *domain, u64 key);
void ksm_stable_append(struct ksm_domain *domain, struct ksm_stable_node *node,
		       struct ksm_rmap_item *item);
void ksm_stable_detach(struct ksm_domain *domain, struct ksm_rmap_item *item);
void ksm_stable_reap(struct ksm_domain *domain);
bool ksm_stable_clear(struct ksm_domain *domain);
void ksm_stable_forget_pfns(struct ksm_domain *domain, unsigned long start,
			    unsigned long end);
void ksm_stable_renew_met(struct ksm_domain *domain);

/**
 * ksm_node_mapping - what a shared page has as its mapping
 * @node: its stable node
 *
 * Return: the value of folio->mapping.
 */
static inline void *ksm_node_mapping(const struct ksm_stable_node *node)
{
	return (void *)((unsigned long)node | PAGE_MAPPING_KSM);
}

/**
 * ksm_folio_node - the stable node of a folio
 * @folio: any folio
 *
 * Return: the node, or NULL where the folio is no KSM page or one whose node
 * has gone.  Good for as long as the folio is locked or ksm.lock is held.
 */
static inline struct ksm_stable_node *ksm_folio_node(const struct folio *folio)
{
	if (!folio_test_ksm(folio))
		return NULL;
	return (struct ksm_stable_node *)((unsigned long)folio->mapping &
					  ~PAGE_MAPPING_FLAGS);
}

/* advisor.c */

enum ksm_advisor_mode {
	KSM_ADVISOR_NONE,
	KSM_ADVISOR_SCAN_TIME,
};

/**
 * struct ksm_advisor - how much to scan in a batch
 * @mode: who decides on @pages_to_scan
 * @pages_to_scan: pages in a batch
 * @max_cpu: percent of a CPU that ksmd may use
 * @min_pages_to_scan: where the advisor starts
 * @max_pages_to_scan: the most it may ask for
 * @target_scan_time: seconds that a pass should take
 * @start: in nanoseconds, when the pass began; 0 where the advisor did not see
 * @scan_time: seconds that the previous pass took, 0 if there was none
 * @change: in percent, moving average of how the scan time changes
 * @cpu_time: in nanoseconds, CPU time of ksmd when the pass began
 */
struct ksm_advisor {
	enum ksm_advisor_mode mode;
	unsigned int pages_to_scan;
	unsigned long max_cpu;
	unsigned long min_pages_to_scan;
	unsigned long max_pages_to_scan;
	unsigned long target_scan_time;
	u64 start;
	unsigned long scan_time;
	unsigned long change;
	u64 cpu_time;
};

#define KSM_PAGES_TO_SCAN	100

/**
 * struct ksm_advice - what the advisor found out at the end of a pass
 * @scan_time: seconds that the pass took
 * @cpu_percent: share of a CPU that it took
 * @pages_to_scan: pages in a batch from now on
 */
struct ksm_advice {
	unsigned long scan_time;
	unsigned int cpu_percent;
	unsigned long pages_to_scan;
};

void ksm_advisor_init(struct ksm_advisor *advisor);
void ksm_advisor_set_mode(struct ksm_advisor *advisor, enum ksm_advisor_mode mode);
void ksm_advisor_start(struct ksm_advisor *advisor, u64 now, u64 cpu_time);
bool ksm_advisor_stop(struct ksm_advisor *advisor, u64 now, u64 cpu_time,
		      struct ksm_advice *advice);
unsigned int ksm_rest_millisecs(u64 busy, unsigned long fresh, unsigned long records);

/* merge.c */

/**
 * struct ksm_candidate - a page that may be merged
 * @record: its record
 * @sample: key of its sample, 0 where that was not read
 * @settled: the sample is what it was a pass ago
 */
struct ksm_candidate {
	struct ksm_record *record;
	u64 sample;
	bool settled;
};

struct page *ksm_mergeable_page(struct page *page);
void ksm_cmp_and_merge(struct ksm_domain *domain, struct ksm_candidate *candidate);
int ksm_break_range(struct vm_area_struct *vma, unsigned long start,
		    unsigned long end);

/* scan.c */

/**
 * struct ksm_scan - where a pass over all mms has got to
 * @slot: the mm, NULL between passes; changes under ksm.slots_lock
 * @address: the next address in it
 * @looked: behind the last page that was looked at
 * @asked: behind the last page that secondary MMUs were asked about
 * @young: what they said
 * @leaf: where the leaf at or behind @looked is linked
 * @found_area: the mm has a mergeable area
 * @seqnr: passes completed
 * @fresh: as in struct ksm_counters, when this pass began
 * @cpu_time: of ksmd then, in nanoseconds
 * @rest: how long to leave memory alone after it, in milliseconds
 * @roused: not so: there is something new since it began; set without a lock
 * @budget: pages still to be looked at in this batch
 * @skip_budget: pages that may still be skipped in this batch
 * @nice: of ksmd, as it was last set
 * @nice_tick: when, in jiffies
 * @nr_candidates: entries of @candidate in use
 * @candidate: pages of one leaf that need more than a look at their sample
 */
struct ksm_scan {
	struct ksm_mm_slot *slot;
	unsigned long address;
	unsigned long looked;
	unsigned long asked;
	bool young;
	struct ksm_leaf **leaf;
	bool found_area;
	unsigned long seqnr;
	unsigned long fresh;
	u64 cpu_time;
	unsigned int rest;
	bool roused;
	unsigned int budget;
	unsigned int skip_budget;
	int nice;
	unsigned long nice_tick;
	unsigned int nr_candidates;
	struct ksm_candidate *candidate;
};

int ksm_scan_init(struct ksm_scan *scan);
void ksm_scan_batch(struct ksm_scan *scan, unsigned int nr_pages);
int ksm_scan_unmerge(struct ksm_scan *scan);

/* mm_slot.c */

int ksm_mm_slot_init(void);
bool ksm_mm_exiting(struct mm_struct *mm);
struct vm_area_struct *ksm_find_vma(struct mm_struct *mm, unsigned long address);
void ksm_slot_first(struct ksm_scan *scan);
void ksm_slot_none(struct ksm_scan *scan);
void ksm_slot_leave(struct ksm_scan *scan, bool forget);
bool ksm_slots_empty(void);
struct vm_area_struct *ksm_next_area(struct vma_iterator *vmi);
bool ksm_has_mergeable_area(struct mm_struct *mm);

/* rmap.c */

void ksm_hotplug_init(void);

/* core.c */

/* Values of the knob run. */
enum ksm_run {
	KSM_RUN_STOP,
	KSM_RUN_MERGE,
	KSM_RUN_UNMERGE,
};

/**
 * struct ksm - everything there is one of
 * @lock: see above
 * @slots_lock: see above
 * @slots: list of all mm_slots, in the order of scanning
 * @run: what ksmd is to do; written under @lock
 * @offlining: memory is going offline and the trees are not to be used
 * @offline_wait: where to wait for that to end
 * @sleep_millisecs: pause between two batches
 * @prune_millisecs: pause between two searches of dups for stale ones
 * @max_page_sharing: most rmap_items that ksmd gives a stable node
 * @merge_across_nodes: whether pages of different NUMA nodes may be merged
 * @use_zero_pages: whether zeroed pages are replaced by the zero page
 * @smart_scan: whether pages that don't change are skipped
 * @thread_wait: ksmd waits here for something to do
 * @sleep_wait: ksmd waits here between two batches
 * @key: the secret
 * @zero: fingerprint of a zeroed page
 * @zero_sample: likewise, of its sample
 * @advisor: how much to scan
 * @scan: how far the pass has got
 * @domain: the trees
 */
struct ksm {
	struct mutex lock;	/* see above */
	spinlock_t slots_lock;	/* see above */
	struct list_head slots;
	enum ksm_run run;
	bool offlining;
	wait_queue_head_t offline_wait;
	unsigned int sleep_millisecs;
	unsigned int prune_millisecs;
	int max_page_sharing;
	bool merge_across_nodes;
	bool use_zero_pages;
	bool smart_scan;
	wait_queue_head_t thread_wait;
	wait_queue_head_t sleep_wait;
	struct ksm_key key;
	u64 zero;
	u64 zero_sample;
	struct ksm_advisor advisor;
	struct ksm_scan scan;
	struct ksm_domain domain;
};

extern struct ksm ksm;

void ksm_lock(void);
void ksm_unlock(void);
void ksm_rouse(void);
int ksm_set_run(enum ksm_run run);

/* sysfs.c */

#ifdef CONFIG_SYSFS
int ksm_sysfs_init(void);
#else
static inline int ksm_sysfs_init(void)
{
	return 0;
}
#endif

/* stats.c */

unsigned long ksm_pages_volatile(const struct ksm_domain *domain);
long ksm_general_profit(const struct ksm_domain *domain);

/**
 * ksm_tag - the part of a fingerprint that a record keeps
 * @fingerprint: of a sample or a page
 *
 * Return: its upper half.
 */
static inline u32 ksm_tag(u64 fingerprint)
{
	return fingerprint >> 32;
}

/* An odd constant to spread NUMA nodes over the keys: 2^64 / golden ratio. */
#define KSM_NODE_STRIDE		0x9e3779b97f4a7c15ULL

/**
 * ksm_key_on_node - fingerprint of a content for the pages of one NUMA node
 * @fingerprint: of the content
 * @nid: NUMA node, 0 where it makes no difference
 *
 * Return: the key under which either tree knows the content.
 */
static inline u64 ksm_key_on_node(u64 fingerprint, int nid)
{
	return fingerprint + nid * KSM_NODE_STRIDE;
}

/**
 * ksm_page_nid - the NUMA node whose pages a page may be merged with
 * @page: the page
 *
 * Context: under ksm.lock.
 * Return: its node, or 0 for all while merge_across_nodes is 1.
 */
static inline int ksm_page_nid(const struct page *page)
{
	return ksm.merge_across_nodes ? 0 : page_to_nid(page);
}

#endif /* _MM_KSM_H */
