/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A stable tree, and lists of the nodes and rmap_items that were put there.
 */
#ifndef _KSM_TEST_STABLE_WORLD_H
#define _KSM_TEST_STABLE_WORLD_H

#include <linux/rmap.h>

#include "harness.h"
#include "memory.h"

#define NR_CONTENTS	12
#define NR_NODES	200
#define NR_ITEMS	1500
#define NR_MMS		3

/**
 * struct model_node - a stable node as it should be
 * @node: where it is; freed once its page was found to have gone
 * @content: which content its page has
 * @by_sample: its key is that of the sample
 * @nid: NUMA node it was last told of
 */
struct model_node {
	struct ksm_stable_node *node;
	unsigned int content;
	bool by_sample;
	int nid;
};

/**
 * struct model_item - an rmap_item as it should be
 * @item: where it is
 * @node: which node it was appended to
 */
struct model_item {
	struct ksm_rmap_item *item;
	struct ksm_stable_node *node;
};

/**
 * struct stable_world - the tree and what it should hold
 * @domain: the tree
 * @nodes: what should be known of its nodes
 * @items: what should be known of its rmap_items
 * @mms: the mms of these
 * @slots: the slots of @mms
 * @anon_vma: the anon_vma of all of them
 */
struct stable_world {
	struct ksm_domain domain;
	struct model_node nodes[NR_NODES];
	struct model_item items[NR_ITEMS];
	struct mm_struct mms[NR_MMS];
	struct ksm_mm_slot slots[NR_MMS];
	struct anon_vma anon_vma;
};

extern struct stable_world world;

void world_init(bool races);
void world_end(void);
void world_check(void);
struct model_node *world_insert(unsigned int content, bool by_sample);
struct model_item *world_append(struct ksm_stable_node *node);
void world_detach(struct model_item *model);
struct folio *candidate_with_room(unsigned int content);
u64 content_key(unsigned int content);
u64 content_sample(unsigned int content);
u64 any_key(unsigned int content, bool by_sample, int nid);
int nid_of(const struct folio *folio);
struct model_node *model_of(const struct ksm_stable_node *node);
u64 model_key(const struct model_node *model);

#endif /* _KSM_TEST_STABLE_WORLD_H */
