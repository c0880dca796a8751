// SPDX-License-Identifier: GPL-2.0
/*
 * How many bytes the leaves and the index take for each page that is known.
 */

#include <limits.h>
#include <string.h>

#include <linux/memcontrol.h>

#include "harness.h"
#include "memory.h"

static struct ksm_mm_slot slot;
static struct mm_struct mm;
static struct mem_cgroup memcg;
static struct ksm_domain domain;

static void world_init(void)
{
	memset(&slot, 0, sizeof(slot));
	memset(&mm, 0, sizeof(mm));
	memset(&memcg, 0, sizeof(memcg));
	mm.memcg = &memcg;
	slot.slot.mm = &mm;
	CHECK_EQ(ksm_record_init(), 0);
	CHECK_EQ(ksm_stable_init(), 0);
	CHECK_EQ(ksm_domain_init(&domain, &lock, &controls, &secret), 0);
}

static void world_end(void)
{
	struct ksm_leaf_cursor cursor;
	unsigned int budget = UINT_MAX;

	ksm_leaf_cursor_init(&cursor, &slot);
	CHECK(ksm_leaf_cursor_forget(&domain, &cursor, ULONG_MAX, &budget));
	CHECK(!slot.leaves);
	ksm_leaves_free(&domain);
	ksm_domain_destroy(&domain);
}

static unsigned long metadata_bytes(void)
{
	return domain.counters.leaf_bytes + shim.bytes;
}

/* A pass over memory of which one page in so many is there, all of them unique. */
static unsigned long scan(unsigned long nr, unsigned long distance)
{
	struct ksm_leaf **link = &slot.leaves;
	unsigned long i, address = 0;

	for (i = 0; i < nr; i++, address += distance * PAGE_SIZE) {
		u64 offsets = distance > 1 ? 1ULL << (i * distance % KSM_LEAF_PAGES) : ~0ULL;
		struct ksm_record *record;

		if (*link && !ksm_leaf_covers(*link, address))
			link = &(*link)->next;
		if (!*link)
			CHECK_EQ(ksm_leaf_extend(&domain, &slot, link, address, offsets), 0);
		record = &(*link)->record[distance > 1 ? 0 : i % KSM_LEAF_PAGES];
		ksm_record_seen(&domain, record);
		record->tag = rnd();
		ksm_record_insert(&domain, record);
		while (ksm_domain_adjust_step(&domain))
			;
	}
	return metadata_bytes();
}

static unsigned long most_bytes(unsigned long distance)
{
	unsigned long nr, most = 0;

	/* Right before and after the table has grown, and in between. */
	for (nr = 500000; nr < 1100000; nr += 150000) {
		unsigned long bytes;

		world_init();
		bytes = scan(nr, distance);
		CHECK_EQ(domain.counters.records, nr);
		if (bytes * 100 / nr > most)
			most = bytes * 100 / nr;
		world_end();
		shim_destroy_caches();
	}
	note("one page in %lu: at most %lu.%02lu bytes a record", distance,
	     most / 100, most % 100);
	return most;
}

static void test_bytes_dense(void)
{
	CHECK_LE(most_bytes(1), 2400);
}

/* One page in 2 MiB, or in each leaf where that is larger. */
static void test_bytes_sparse(void)
{
	unsigned long distance = (2UL << 20) / PAGE_SIZE;

	CHECK_LE(most_bytes(distance < KSM_LEAF_PAGES ? KSM_LEAF_PAGES : distance), 6400);
}

const struct test bytes_tests[] = {
	{ "where memory is dense", test_bytes_dense },
	{ "where memory is sparse", test_bytes_sparse },
	{ }
};
