// SPDX-License-Identifier: GPL-2.0
/*
 * What a visit makes of the sample of a page, and how long the page is skipped then.
 */

#include <limits.h>
#include <string.h>

#include "harness.h"
#include "visit.h"

#define NR_RECORDS	8

static struct ksm_mm_slot slot;
static struct mm_struct mm;
static struct ksm_domain domain;
static struct ksm_record *record;
/* With a random key, a bit of the filter could be that of a zeroed page. */
static const struct ksm_key key;

static u64 sample_of(u32 tag)
{
	return (u64)tag << 32 | 0x1234;
}

static void begin(void)
{
	memset(&mm, 0, sizeof(mm));
	slot = (struct ksm_mm_slot){ .slot.mm = &mm };
	CHECK_EQ(ksm_record_init(), 0);
	CHECK_EQ(ksm_domain_init(&domain, &lock, &controls, &key), 0);
	CHECK_EQ(ksm_leaf_extend(&domain, &slot, &slot.leaves, 0, (1 << NR_RECORDS) - 1), 0);
	record = slot.leaves->record;
}

static void end(void)
{
	unsigned int budget = UINT_MAX;
	struct ksm_leaf_cursor cursor;

	ksm_leaf_cursor_init(&cursor, &slot);
	CHECK(ksm_leaf_cursor_forget(&domain, &cursor, ULONG_MAX, &budget));
	ksm_leaves_free(&domain);
	CHECK_EQ(domain.counters.records, 0);
	ksm_domain_destroy(&domain);
}

static enum ksm_visit visit(unsigned int i, u32 tag)
{
	return ksm_visit_page(&domain, &record[i], sample_of(tag), sample_of(tag));
}

static void test_unique(void)
{
	unsigned int i;

	begin();
	slot.leaves->skips = 7;
	CHECK_EQ(visit(0, 100), KSM_VISIT_DONE);
	CHECK_EQ(record[0].state, KSM_SEEN);
	CHECK_EQ(record[0].tag, 100);
	CHECK(!record[0].full);
	CHECK_EQ(slot.leaves->skips, 0);
	CHECK_EQ(domain.counters.records, 1);
	for (i = 0; i < 5; i++) {
		CHECK_EQ(visit(0, 100), KSM_VISIT_DONE);
		CHECK_EQ(record[0].state, KSM_UNSHARED);
		CHECK_EQ(domain.unstable.nr, 1);
	}
	end();
}

static void test_duplicate(void)
{
	begin();
	CHECK_EQ(visit(0, 100), KSM_VISIT_DONE);
	CHECK_EQ(visit(1, 100), KSM_VISIT_DONE);
	CHECK_EQ(visit(0, 100), KSM_VISIT_DONE);
	/* The first page is in the index now. */
	CHECK_EQ(visit(1, 100), KSM_VISIT_SETTLED);
	CHECK_EQ(record[1].state, KSM_SEEN);
	CHECK(ksm_filter_repeated(&domain.filter, 100));
	/* Each page with that tag has to be compared from here on. */
	CHECK_EQ(visit(0, 100), KSM_VISIT_SETTLED);
	CHECK_EQ(visit(2, 100), KSM_VISIT_CANDIDATE);
	CHECK_EQ(visit(2, 100), KSM_VISIT_SETTLED);
	end();
}

static void test_changed(void)
{
	begin();
	visit(0, 100);
	visit(0, 100);
	record[0].age = 20;
	record[0].skips = 9;
	CHECK_EQ(visit(0, 101), KSM_VISIT_DONE);
	CHECK_EQ(record[0].state, KSM_SEEN);
	CHECK_EQ(record[0].tag, 101);
	CHECK_EQ(record[0].skips, 0);
	CHECK_EQ(domain.unstable.nr, 0);
	/* It was unchanged before: it gets the visits of a new page. */
	CHECK_EQ(record[0].age, 0);
	/* A page that changes all the time does not. */
	record[0].age = 20;
	CHECK_EQ(visit(0, 102), KSM_VISIT_DONE);
	CHECK_EQ(record[0].age, 20);
	CHECK_EQ(domain.counters.changed, 3);
	end();
}

/* The sample of the page is that of others. */
static void test_whole_page(void)
{
	const u64 sample = sample_of(100), key = sample_of(200);

	begin();
	ksm_visit_page(&domain, &record[0], sample, sample);
	record[0].tag = ksm_tag(key);
	record[0].full = true;
	CHECK(!ksm_filter_ambiguous(&domain.filter, ksm_tag(sample)));
	CHECK_EQ(ksm_visit_page(&domain, &record[0], sample, key), KSM_VISIT_DONE);
	CHECK_EQ(record[0].state, KSM_UNSHARED);
	CHECK(ksm_filter_ambiguous(&domain.filter, ksm_tag(sample)));
	/* A sample is no match for a whole page. */
	CHECK_EQ(visit(1, 200), KSM_VISIT_DONE);
	CHECK_EQ(visit(1, 200), KSM_VISIT_DONE);
	CHECK_EQ(record[1].state, KSM_UNSHARED);
	CHECK_EQ(ksm_visit_page(&domain, &record[0], sample, sample_of(201)), KSM_VISIT_DONE);
	CHECK_EQ(record[0].tag, ksm_tag(sample));
	CHECK(!record[0].full);
	end();
}

/* Backs off after so many visits, and returns for how long the page is skipped. */
static unsigned int skips_after(enum ksm_state state, bool young, unsigned int visits)
{
	struct ksm_record page = { .state = state };

	while (visits--)
		ksm_visit_back_off(&page, young);
	CHECK_LE(page.age, 31);
	return page.skips;
}

static void test_back_off(void)
{
	static const enum ksm_state states[] = { KSM_SEEN, KSM_UNSHARED };
	unsigned int i, visits;

	for (i = 0; i < ARRAY_SIZE(states); i++) {
		CHECK_EQ(skips_after(states[i], false, 1), 0);
		CHECK_EQ(skips_after(states[i], false, 2), 0);
		CHECK_EQ(skips_after(states[i], true, 2), 0);
		CHECK_EQ(skips_after(states[i], true, 3), 2);
		for (visits = 4; visits < 100; visits++)
			CHECK_EQ(skips_after(states[i], true, visits), KSM_MAX_SKIPS_YOUNG);
	}
	/* A duplicate finds an idle page in the index, but no other page. */
	for (visits = 3; visits < 100; visits++)
		CHECK_EQ(skips_after(KSM_UNSHARED, false, visits), KSM_MAX_SKIPS_IDLE);
	CHECK_EQ(skips_after(KSM_SEEN, false, 3), 2);
	CHECK_EQ(skips_after(KSM_SEEN, false, 4), 4);
	CHECK_EQ(skips_after(KSM_SEEN, false, 7), 32);
	for (visits = 8; visits < 100; visits++)
		CHECK_EQ(skips_after(KSM_SEEN, false, visits), KSM_MAX_SKIPS_IDLE);
}

const struct test visit_tests[] = {
	{ "a unique page goes to the index", test_unique },
	{ "a page with a duplicate", test_duplicate },
	{ "a page that changes", test_changed },
	{ "a page that is known by all of its bytes", test_whole_page },
	{ "how long a page is skipped", test_back_off },
	{ }
};
