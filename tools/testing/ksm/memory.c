// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that come, go and move.
 *
 * Each page that lives has a reference of its own, which stands for all those
 * that mappings and the swap cache have in the kernel.
 */

#include <linux/mm.h>

#include "memory.h"

/* The steps of a migration, in the order in which others may see them. */
enum step {
	NOT_MIGRATING,
	FROZEN,
	COPIED,
	MOVED,
};

static struct {
	struct folio *from;
	struct folio *to;
	enum step step;
} migration;

/* A page that another user has locked. */
static struct folio *held;
static bool busy;
static bool alive[NR_FRAMES];

/* Every frame is free; NUMA nodes have equal shares of them. */
void memory_reset(void)
{
	unsigned int i;

	for (i = 0; i < NR_FRAMES; i++) {
		frames[i] = (struct folio){
			.page.nid = i * nr_node_ids / NR_FRAMES,
			.pfn = FIRST_PFN + i,
		};
		alive[i] = false;
	}
	migration.from = NULL;
	migration.to = NULL;
	migration.step = NOT_MIGRATING;
	held = NULL;
	busy = false;
}

static bool *life_of(const struct folio *folio)
{
	return &alive[folio - frames];
}

bool page_alive(const struct folio *folio)
{
	return *life_of(folio);
}

static struct folio *random_frame(void)
{
	return &frames[rnd_below(NR_FRAMES)];
}

static bool frame_is_free(const struct folio *folio)
{
	return !folio->refs && !folio->offline && folio != migration.from;
}

static void page_begin(struct folio *folio)
{
	folio->refs = 1;
	folio->mapping = (void *)PAGE_MAPPING_ANON;
	folio->mapcount = 1 + rnd_below(3);
	folio->swapcache = false;
	*life_of(folio) = true;
}

/* A new page in any free frame, or NULL if no frame is free. */
struct folio *page_new(void)
{
	struct folio *folio = random_frame(), *start = folio;

	while (!frame_is_free(folio)) {
		folio = folio == &frames[NR_FRAMES - 1] ? frames : folio + 1;
		if (folio == start)
			return NULL;
	}
	page_begin(folio);
	return folio;
}

static void *mapping_of(const struct ksm_stable_node *node)
{
	return (void *)((unsigned long)node | PAGE_MAPPING_KSM);
}

void page_share(struct folio *folio, struct ksm_stable_node *node)
{
	folio->mapping = mapping_of(node);
}

/* Removes the last mapping. A reference may keep the page for a while. */
void page_vanish(struct folio *folio)
{
	if (!*life_of(folio) || folio == migration.from || folio == migration.to)
		return;
	*life_of(folio) = false;
	folio->mapcount = 0;
	folio->swapcache = false;
	folio_put(folio);
}

/* The page that belongs to a node, if it has one still. */
struct folio *page_of(const struct ksm_stable_node *node)
{
	struct folio *folio;

	for (folio = frames; folio < frames + NR_FRAMES; folio++)
		if (*life_of(folio) && folio->mapping == mapping_of(node))
			return folio;
	return NULL;
}

struct folio *page_any(void)
{
	unsigned int tries;

	for (tries = 0; tries < 20; tries++) {
		struct folio *folio = random_frame();

		if (*life_of(folio))
			return folio;
	}
	return NULL;
}

static void migration_begin(struct folio *from)
{
	struct folio *to;

	/* A reference of another user prevents the migration. */
	if (from->locked || from->refs != 1 || !ksm_folio_node(from))
		return;
	to = page_new();
	if (!to)
		return;
	migration.from = from;
	migration.to = to;
	migration.step = FROZEN;
	busy = true;
	from->locked = true;
	to->locked = true;
	from->swapcache = one_in(2);
	if (from->swapcache)
		from->refs = 0;
}

static void migration_copy(struct folio *from, struct folio *to)
{
	to->mapping = from->mapping;
	to->mapcount = from->mapcount;
	to->swapcache = from->swapcache;
	if (from->swapcache)
		from->refs = 1;
}

static void migration_end(struct folio *from, struct folio *to)
{
	from->mapping = (void *)PAGE_MAPPING_KSM;
	from->swapcache = false;
	from->mapcount = 0;
	from->locked = false;
	to->locked = false;
	*life_of(from) = false;
	folio_put(from);
	migration.from = NULL;
	migration.to = NULL;
}

/* Takes the next step of a migration. folio_migrate_flags() takes them without a break. */
static void migration_step(void)
{
	struct folio *from = migration.from, *to = migration.to;

	switch (migration.step) {
	case NOT_MIGRATING:
		break;
	case FROZEN:
		migration_copy(from, to);
		migration.step = COPIED;
		break;
	case COPIED:
		ksm_folio_node(from)->kpfn = to->pfn;
		migration.step = MOVED;
		break;
	case MOVED:
		migration_end(from, to);
		migration.step = NOT_MIGRATING;
		break;
	}
}

static void hold(struct folio *folio)
{
	if (folio->locked || !folio->refs)
		return;
	folio->refs++;
	folio->locked = true;
	held = folio;
	busy = true;
}

static void let_go(void)
{
	struct folio *folio = held;

	held = NULL;
	folio_unlock(folio);
	folio_put(folio);
}

/* Does something that may happen to this page, or to any page if it is NULL or free. */
void memory_act(struct folio *folio)
{
	if (!folio || !*life_of(folio))
		folio = page_any();
	if (migration.step != NOT_MIGRATING) {
		migration_step();
	} else if (held && one_in(2)) {
		let_go();
	} else if (folio) {
		switch (rnd_below(8)) {
		case 0:
			page_vanish(folio);
			/* Another user may get the frame at once. */
			if (frame_is_free(folio) && one_in(2))
				page_begin(folio);
			break;
		case 1:
		case 2:
			migration_begin(folio);
			break;
		case 3:
			if (!held)
				hold(folio);
			break;
		}
	}
}

/* Ends the migration, and releases the page of the other user. */
void memory_settle(void)
{
	while (migration.step != NOT_MIGRATING)
		migration_step();
	if (held)
		let_go();
	busy = false;
}

/* Whether another user has had a lock since memory_settle(). */
bool memory_was_busy(void)
{
	return busy;
}

/* The pages of this range have gone, or go now. Nothing may access them afterwards. */
void memory_offline(unsigned long start, unsigned long end)
{
	unsigned long pfn;

	memory_settle();
	for (pfn = start; pfn < end; pfn++) {
		page_vanish(&frames[pfn - FIRST_PFN]);
		frames[pfn - FIRST_PFN].offline = true;
	}
}

void memory_online(void)
{
	struct folio *folio;

	for (folio = frames; folio < frames + NR_FRAMES; folio++)
		folio->offline = false;
}
