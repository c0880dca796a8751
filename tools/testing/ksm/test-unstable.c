// SPDX-License-Identifier: GPL-2.0
/*
 * The index against a list of what should be in it.
 */

#include <stdlib.h>
#include <string.h>

#include "harness.h"

static struct ksm_unstable table;

static void table_free(void)
{
	ksm_unstable_destroy(&table);
}

static void adjust_all(void)
{
	while (ksm_unstable_adjust(&table))
		;
}

/* Tags of which some differ from others in their first bits alone. */
static u32 any_tag(void)
{
	if (one_in(3))
		return rnd_below(8) << 29 | rnd_below(3);
	return rnd();
}

/* The records of one bucket, each of which has to belong there. */
static unsigned long check_bucket(unsigned long i)
{
	struct ksm_record *record;
	unsigned long nr = 0;

	record = (struct ksm_record *)*ksm_array_at(&table.buckets, i);
	for (; record; record = record->next) {
		CHECK_EQ(record->state, KSM_UNSHARED);
		CHECK_EQ(ksm_array_slot(&table.buckets, record->tag), i);
		nr++;
	}
	return nr;
}

static void check_table(void)
{
	unsigned long i, nr = 0;

	for (i = 0; i < table.buckets.nr; i++)
		nr += check_bucket(i);
	CHECK_EQ(table.nr, nr);
	CHECK_EQ(table.buckets.bytes + 16 * sizeof(long) + 2 * sizeof(void *), shim.bytes);
}

static bool in_table(const struct ksm_record *wanted)
{
	struct ksm_record *record = bucket_of(&table, wanted->tag);

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

/* Each record has another place to which it may move. */
static struct ksm_record records[2 * NR_RECORDS];

static struct ksm_record *other_place(struct ksm_record *record)
{
	return record < records + NR_RECORDS ? record + NR_RECORDS : record - NR_RECORDS;
}

static void move_record(struct ksm_record *from)
{
	struct ksm_record *to = other_place(from), old = *from;

	if (to->state != KSM_NONE)
		return;
	*to = *from;
	ksm_unstable_move(&table, from, to);
	/* A link that still leads to the old record must not go unnoticed. */
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
			CHECK_EQ(record->age, 0);
			CHECK_EQ(record->skips, 0);
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
			ksm_unstable_adjust(&table);
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

/* One step, and what it did: it moves or visits a bounded number of records. */
static bool step(void)
{
	const unsigned long before = table.buckets.nr;
	const long allocations = shim.allocations;
	unsigned long first, last, i, visited = 0, longest = 0;
	bool more = ksm_unstable_adjust(&table);

	first = min(before, table.buckets.nr);
	last = max(before, table.buckets.nr);
	CHECK_LE(last - first, 128);
	for (i = first; i < last; i++) {
		const unsigned long parent = i - (1UL << (fls_long(i) - 1));
		unsigned long nr = 0;

		if (parent < table.buckets.nr)
			nr += check_bucket(parent);
		if (i < table.buckets.nr)
			nr += check_bucket(i);
		visited += nr;
		longest = max(longest, nr);
	}
	CHECK_LE(visited, 512 + longest);
	/* A segment and two directories; or the first segment of each smaller size. */
	CHECK_LE(shim.allocations - allocations, 5);
	CHECK_LE(shim.largest, 512 * sizeof(long));
	return more;
}

static void insert_random(struct ksm_record *record)
{
	record->tag = rnd();
	record->full = one_in(2);
	ksm_unstable_insert(&table, record);
}

/*
 * A scan inserts and removes some records between two steps.  The chains stay
 * short all the time, and each step is bounded.
 */
static void test_size(void)
{
	const unsigned long nr = rounds(1000000);
	struct ksm_record *many = calloc(nr, sizeof(*many));
	unsigned long i, steps = 0;

	CHECK_EQ(ksm_unstable_init(&table), 0);
	for (i = 0; i < nr; i++) {
		insert_random(&many[i]);
		if (i % 64)
			continue;
		for (; ksm_unstable_needs_adjust(&table); steps++)
			step();
		CHECK_LE(table.nr, table.buckets.nr * 3);
	}
	CHECK_LE(steps, nr / 128);
	check_table();
	for (i = 0; i < nr; i += 7) {
		struct ksm_record *found;

		found = ksm_unstable_find(&table, many[i].tag, many[i].full);
		CHECK(found && found->tag == many[i].tag);
	}
	for (i = 0; i < nr; i++) {
		ksm_unstable_remove(&table, &many[i]);
		if (i % 64)
			continue;
		while (ksm_unstable_needs_adjust(&table))
			step();
		CHECK(table.buckets.nr <= table.nr * 2 || table.buckets.nr <= 16);
	}
	adjust_all();
	check_table();
	CHECK_EQ(table.nr, 0);
	CHECK_EQ(table.buckets.nr, 16);
	CHECK_EQ(ksm_unstable_bytes(&table), 0);
	table_free();
	free(many);
}

/* All records at once, and then none: a step remains a step. */
static void test_steps(void)
{
	const unsigned long nr = rounds(200000);
	struct ksm_record *many = calloc(nr, sizeof(*many));
	unsigned long i, steps = 0;

	CHECK_EQ(ksm_unstable_init(&table), 0);
	for (i = 0; i < nr; i++)
		insert_random(&many[i]);
	while (step())
		steps++;
	CHECK_GE(steps, nr / 2 / 128);
	check_table();
	for (i = 0; i < nr; i++)
		ksm_unstable_remove(&table, &many[i]);
	while (step())
		;
	check_table();
	CHECK_EQ(table.buckets.nr, 16);
	table_free();
	free(many);
}

static void test_small(void)
{
	struct ksm_record *many = calloc(100, sizeof(*many));
	unsigned long i;

	CHECK_EQ(ksm_unstable_init(&table), 0);
	for (i = 0; i < 100; i++)
		insert_random(&many[i]);
	adjust_all();
	check_table();
	CHECK_LE(shim.bytes, 1024);
	/* A few more or less do not change the size again. */
	i = table.buckets.nr;
	ksm_unstable_remove(&table, &many[0]);
	CHECK(!ksm_unstable_needs_adjust(&table));
	insert_random(&many[0]);
	CHECK(!ksm_unstable_needs_adjust(&table));
	CHECK_EQ(table.buckets.nr, i);
	table_free();
	free(many);
}

static void test_no_memory(void)
{
	const unsigned long nr = 10000;
	struct ksm_record *many = calloc(nr, sizeof(*many));
	unsigned long i, most;
	unsigned int after;

	for (after = 0; after < 3; after++) {
		shim.fail_after = after;
		CHECK_EQ(ksm_unstable_init(&table), -ENOMEM);
		CHECK_EQ(shim.objects, 0);
	}
	shim.fail_after = -1;
	CHECK_EQ(ksm_unstable_init(&table), 0);
	for (i = 0; i < nr; i++)
		insert_random(&many[i]);
	for (after = 0; after < 30; after++) {
		shim.fail_after = after % 3;
		most = table.most;
		table.nr > most ? step() : 0;
		check_table();
	}
	/* It is not tried again for the very next record. */
	CHECK_GE(table.most, nr);
	CHECK(!ksm_unstable_needs_adjust(&table));
	for (i = 0; i < nr; i++)
		CHECK(ksm_unstable_find(&table, many[i].tag, many[i].full));
	/* Memory is back: the index catches up once there are more records. */
	shim.fail_after = -1;
	table.most = 0;
	adjust_all();
	CHECK_LE(table.nr, table.buckets.nr * 3);
	check_table();
	/* Without memory for smaller tables it shrinks all the same. */
	for (i = 0; i < nr; i++)
		ksm_unstable_remove(&table, &many[i]);
	shim.fail_after = 0;
	while (ksm_unstable_adjust(&table))
		shim.fail_after = 0;
	shim.fail_after = -1;
	check_table();
	CHECK_EQ(table.buckets.nr, 16);
	CHECK_LE(ksm_unstable_bytes(&table), 2 * 512 * sizeof(long));
	table_free();
	CHECK_EQ(shim.bytes, 0);
	free(many);
}

const struct test unstable_tests[] = {
	{ "random operations", test_random },
	{ "a record leaves from anywhere in its chain", test_chain },
	{ "a record that is not in it", test_stray },
	{ "a million records come and go", test_size },
	{ "each step is bounded", test_steps },
	{ "a few records take little memory", test_small },
	{ "allocations that fail", test_no_memory },
	{ }
};
