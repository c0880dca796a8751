// SPDX-License-Identifier: GPL-2.0
/*
 * The unstable tree against a list of what should be in it.
 */

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <linux/bitmap.h>
#include <linux/slab.h>

#include "harness.h"

static struct ksm_unstable table;

static unsigned long nr_buckets(void)
{
	return 1UL << table.bits;
}

static unsigned long nr_filter_bits(void)
{
	return malloc_usable_size(table.met) * 8;
}

static void table_free(void)
{
	ksm_unstable_destroy(&table);
}

/* Tags of which some differ from others in their last bit alone. */
static u32 any_tag(void)
{
	if (one_in(3))
		return rnd_below(8) << 29 | rnd_below(3);
	return rnd();
}

/* The figures against the table itself. */
static void check_table(void)
{
	unsigned long i, nr = 0, met = 0;

	for (i = 0; i < nr_buckets(); i++) {
		struct ksm_record *record;

		for (record = table.bucket[i]; record; record = record->next) {
			CHECK_EQ(record->state, KSM_UNSHARED);
			CHECK_EQ(record->tag >> (32 - table.bits), i);
			nr++;
		}
	}
	CHECK_EQ(table.nr, nr);
	for_each_set_bit(i, table.met, nr_filter_bits())
		met++;
	CHECK_EQ(table.nr_met, met);
}

static bool in_table(const struct ksm_record *wanted)
{
	struct ksm_record *record = table.bucket[wanted->tag >> (32 - table.bits)];

	while (record && record != wanted)
		record = record->next;
	return record;
}

static void new_record(struct ksm_record *record)
{
	*record = (struct ksm_record){
		.tag = any_tag(),
		.full = one_in(2),
		.state = KSM_SEEN,
		.age = rnd_below(32),
		.skips = rnd(),
	};
}

#define NR_RECORDS	3000

/* Each record has a twin, where it may move to. */
static struct ksm_record records[2 * NR_RECORDS];

static struct ksm_record *twin_of(struct ksm_record *record)
{
	return record < records + NR_RECORDS ? record + NR_RECORDS : record - NR_RECORDS;
}

static void move_record(struct ksm_record *from)
{
	struct ksm_record *to = twin_of(from), old = *from;

	if (to->state != KSM_NONE)
		return;
	*to = *from;
	ksm_unstable_move(&table, from, to);
	/* Whoever still follows a link to the old place is to stumble. */
	memset(from, 0xff, sizeof(*from));
	from->state = KSM_NONE;
	CHECK(in_table(to));
	CHECK(to->tag == old.tag && to->full == old.full && to->age == old.age);
}

static void check_find(u32 tag, bool full)
{
	struct ksm_record *found = ksm_unstable_find(&table, tag, full);
	unsigned int i, nr = 0, expected = 0;

	for (i = 0; i < ARRAY_SIZE(records); i++)
		expected += records[i].state == KSM_UNSHARED &&
			    records[i].tag == tag && records[i].full == full;
	/* One is found, and then all the others. */
	for (; found && nr <= expected; found = ksm_unstable_next(found)) {
		CHECK(found->tag == tag && found->full == full &&
		      found->state == KSM_UNSHARED);
		nr++;
	}
	CHECK_EQ(nr, expected);
}

static void test_random(void)
{
	unsigned long i, expected = 0;

	memset(records, 0, sizeof(records));
	CHECK_EQ(ksm_unstable_init(&table), 0);
	for (i = 0; i < rounds(30000); i++) {
		struct ksm_record *record = &records[rnd_below(ARRAY_SIZE(records))];

		if (record->state == KSM_UNSHARED && one_in(3)) {
			move_record(record);
		} else if (record->state == KSM_UNSHARED) {
			u32 tag = record->tag;

			ksm_unstable_remove(&table, record);
			CHECK_EQ(record->state, KSM_SEEN);
			CHECK_EQ(record->tag, tag);
			CHECK(!in_table(record));
			record->state = KSM_NONE;
			expected--;
		} else {
			new_record(record);
			ksm_unstable_insert(&table, record);
			CHECK(in_table(record));
			expected++;
		}
		CHECK_EQ(table.nr, expected);
		if (one_in(50))
			ksm_unstable_reserve(&table, 0);
		if (one_in(30))
			check_find(records[rnd_below(NR_RECORDS)].tag, one_in(2));
		if (one_in(30))
			check_find(any_tag(), one_in(2));
		if (one_in(300))
			check_table();
	}
	table_free();
}

static void test_chain(void)
{
	unsigned int order[7], i;

	CHECK_EQ(ksm_unstable_init(&table), 0);
	memset(records, 0, sizeof(records));
	/* One bucket, one tag: only what is removed goes, wherever it stands. */
	for (i = 0; i < ARRAY_SIZE(order); i++) {
		records[i].tag = 0x12345678;
		ksm_unstable_insert(&table, &records[i]);
		order[i] = i;
	}
	for (i = 0; i < ARRAY_SIZE(order); i++) {
		unsigned int j, pick = i + rnd_below(ARRAY_SIZE(order) - i);
		unsigned int at = order[pick];

		CHECK(ksm_unstable_find(&table, 0x12345678, false));
		CHECK(!ksm_unstable_find(&table, 0x12345678, true));
		order[pick] = order[i];
		order[i] = at;
		ksm_unstable_remove(&table, &records[at]);
		for (j = 0; j < ARRAY_SIZE(order); j++)
			CHECK_EQ(in_table(&records[order[j]]), j > i);
	}
	CHECK(!ksm_unstable_find(&table, 0x12345678, false));
	check_table();
	table_free();
}

/* A record that is not there: a warning, and nothing worse. */
static void test_stray(void)
{
	CHECK_EQ(ksm_unstable_init(&table), 0);
	memset(records, 0, sizeof(records));
	ksm_unstable_insert(&table, &records[0]);
	ksm_unstable_remove(&table, &records[1]);
	CHECK_EQ(shim.warnings, 1);
	ksm_unstable_move(&table, &records[1], &records[2]);
	CHECK_EQ(shim.warnings, 2);
	CHECK(in_table(&records[0]));
	check_table();
	table_free();
	shim.warnings = 0;
}

static void test_growth(void)
{
	const unsigned long nr = rounds(300000);
	struct ksm_record *many = calloc(nr, sizeof(*many));
	unsigned long i;

	CHECK_EQ(ksm_unstable_init(&table), 0);
	for (i = 0; i < nr; i++) {
		new_record(&many[i]);
		many[i].tag = rnd();
		ksm_unstable_insert(&table, &many[i]);
		if (i % 100 == 0)
			ksm_unstable_reserve(&table, 0);
	}
	/* Chains stay short. */
	CHECK_LE(table.nr, nr_buckets() * 3 + 100);
	/* Stable nodes need room in the filter alone. */
	i = table.bits;
	ksm_unstable_reserve(&table, nr_buckets() * 2);
	CHECK_EQ(table.bits, i + 1);
	check_table();
	for (i = 0; i < nr; i++) {
		struct ksm_record *found;

		found = ksm_unstable_find(&table, many[i].tag, many[i].full);
		CHECK(found && found->tag == many[i].tag);
	}
	for (i = 0; i < nr; i++)
		ksm_unstable_remove(&table, &many[i]);
	check_table();
	CHECK_EQ(table.nr, 0);
	table_free();
	free(many);
}

static void grow_by_one(struct ksm_record *many, unsigned long nr)
{
	const unsigned int bits = table.bits;

	while (table.bits == bits) {
		CHECK_LE(table.nr + 1, nr);
		many[table.nr].tag = rnd();
		ksm_unstable_insert(&table, &many[table.nr]);
		ksm_unstable_reserve(&table, 0);
	}
	CHECK_EQ(table.bits, bits + 1);
}

static void test_filter(void)
{
	const unsigned long nr = 100000;
	struct ksm_record *many = calloc(nr, sizeof(*many));
	u32 tag[200];
	unsigned int i, step;

	CHECK_EQ(ksm_unstable_init(&table), 0);
	CHECK_EQ(table.nr_met, 0);
	for (step = 0; step < 4; step++) {
		for (i = step * 50; i < (step + 1) * 50U; i++) {
			tag[i] = any_tag();
			if (i % 2)
				ksm_unstable_set_met(&table, tag[i]);
			else
				ksm_unstable_set_mixed(&table, tag[i]);
			CHECK(ksm_unstable_met(&table, tag[i]));
		}
		grow_by_one(many, nr);
		for (i = 0; i < (step + 1) * 50; i++) {
			CHECK(ksm_unstable_met(&table, tag[i]));
			CHECK(i % 2 || ksm_unstable_mixed(&table, tag[i]));
		}
		check_table();
	}
	CHECK(!ksm_unstable_met_crowded(&table));
	ksm_unstable_clear_met(&table);
	for (i = 0; i < ARRAY_SIZE(tag); i++)
		CHECK(!ksm_unstable_met(&table, tag[i]) &&
		      !ksm_unstable_mixed(&table, tag[i]));
	check_table();
	table_free();
	free(many);
}

/* It says that it is crowded before unique pages hit it often. */
static void test_crowded(void)
{
	unsigned long hits = 0, i;

	CHECK_EQ(ksm_unstable_init(&table), 0);
	while (!ksm_unstable_met_crowded(&table))
		ksm_unstable_set_met(&table, rnd());
	for (i = 0; i < 10000; i++)
		hits += ksm_unstable_met(&table, rnd());
	CHECK_LE(hits, 10000 / 4);
	CHECK_GE(hits, 10000 / 32);
	ksm_unstable_clear_met(&table);
	CHECK(!ksm_unstable_met_crowded(&table));
	table_free();
}

static unsigned long table_bytes(void)
{
	return malloc_usable_size(table.bucket) + malloc_usable_size(table.met);
}

static void test_shrink(void)
{
	struct ksm_record *many = calloc(10000, sizeof(*many));
	unsigned long bytes, i;
	unsigned int bits;

	CHECK_EQ(ksm_unstable_init(&table), 0);
	CHECK_EQ(ksm_unstable_bytes(&table), 0);
	bytes = table_bytes();
	bits = table.bits;
	grow_by_one(many, 10000);
	grow_by_one(many, 10000);
	CHECK_EQ(ksm_unstable_bytes(&table), table_bytes() - bytes);
	ksm_unstable_set_met(&table, rnd());

	/* Not while there is something in it, and not without memory. */
	ksm_unstable_shrink(&table);
	CHECK_EQ(table.bits, bits + 2);
	for (i = table.nr; i--; )
		ksm_unstable_remove(&table, &many[i]);
	for (i = 0; i < 2; i++) {
		shim.fail_after = i;
		ksm_unstable_shrink(&table);
		CHECK_EQ(table.bits, bits + 2);
	}
	shim.fail_after = -1;
	check_table();
	ksm_unstable_shrink(&table);
	CHECK_EQ(table.bits, bits);
	CHECK_EQ(table_bytes(), bytes);
	CHECK_EQ(ksm_unstable_bytes(&table), 0);
	CHECK_EQ(table.nr_met, 0);
	check_table();
	grow_by_one(many, 10000);
	check_table();
	table_free();
	free(many);
}

static void test_no_memory(void)
{
	struct ksm_record *many = calloc(10000, sizeof(*many));
	unsigned int i, after;

	for (after = 0; after < 2; after++) {
		shim.fail_after = after;
		CHECK_EQ(ksm_unstable_init(&table), -ENOMEM);
		CHECK_EQ(shim.objects, 0);
	}
	shim.fail_after = -1;
	CHECK_EQ(ksm_unstable_init(&table), 0);
	for (i = 0; i < 10000; i++) {
		many[i].tag = rnd();
		ksm_unstable_insert(&table, &many[i]);
		if (i % 7 == 0)
			ksm_unstable_set_met(&table, many[i].tag);
	}
	for (after = 0; after < 2; after++) {
		struct ksm_unstable before = table;

		shim.fail_after = after;
		ksm_unstable_reserve(&table, 0);
		/* It is not tried again for the very next record. */
		before.most += before.most / 4;
		CHECK(!memcmp(&table, &before, sizeof(table)));
		CHECK_EQ(shim.objects, 2);
	}
	shim.fail_after = -1;
	CHECK_EQ(shim.failed, 4);
	check_table();
	for (i = 0; i < 10000; i++)
		CHECK(ksm_unstable_find(&table, many[i].tag, false));
	/* Memory is back: it catches up. */
	for (i = 0; i < 10; i++)
		ksm_unstable_reserve(&table, 0);
	CHECK_LE(table.nr, nr_buckets() * 3);
	check_table();
	for (i = 0; i < 10000; i += 7)
		CHECK(ksm_unstable_met(&table, many[i].tag));
	table_free();
	free(many);
}

const struct test unstable_tests[] = {
	{ "random operations", test_random },
	{ "a record leaves from anywhere in its chain", test_chain },
	{ "a record that is not in it", test_stray },
	{ "growth keeps everything findable", test_growth },
	{ "the filter survives growth", test_filter },
	{ "the filter says when it has lost its use", test_crowded },
	{ "an empty table gives its memory back", test_shrink },
	{ "allocations that fail change nothing", test_no_memory },
	{ }
};
