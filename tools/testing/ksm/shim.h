/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel around the code under test, as far as a test may set it up or
 * look into it.  What the code itself calls is declared in include/.
 */
#ifndef _KSM_TEST_SHIM_H
#define _KSM_TEST_SHIM_H

#include "advisor.h"
#include "array.h"
#include "domain.h"
#include "filter.h"
#include "fingerprint.h"
#include "record.h"
#include "slots.h"
#include "stable.h"
#include "unstable.h"

/* Random numbers from the seed of the test: any, below a bound, one in n. */
u64 rnd(void);
u32 rnd_below(u32 ceil);
bool one_in(u32 n);
void rnd_seed(u64 seed);

/**
 * struct shim - what the shims count, and what they are told to do
 * @objects: allocations that are alive, slab objects and tables together
 * @caches: slab caches that exist
 * @fail_after: how many allocations succeed before one fails; -1 for all
 * @failed: allocations that did fail
 * @allocations: calls of kcalloc() that succeeded
 * @bytes: memory from kcalloc() that is not freed
 * @largest: bytes of the largest allocation by kcalloc()
 * @warnings: warnings of the code under test
 * @ram: pages of memory
 * @hugetlb: those of them that are set aside for huge pages
 * @available: those of them that are available
 * @race: called wherever the code under test may be preempted, with the folio
 *	  that it is about to look at, or NULL
 */
struct shim {
	long objects;
	long caches;
	long fail_after;
	long failed;
	long allocations;
	size_t bytes;
	size_t largest;
	long warnings;
	unsigned long ram;
	unsigned long hugetlb;
	unsigned long available;
	void (*race)(struct folio *folio);
};

extern struct shim shim;

/* What a domain under test depends on. */
extern struct ksm_lock lock;
extern struct ksm_controls controls;
extern struct ksm_key secret;
extern const u64 zero_page[];

void shim_reset(void);
void shim_destroy_caches(void);
long shim_objects_of(const char *cache);
size_t shim_object_size(void *object);

/* The memory: frames are numbered from FIRST_PFN. */
#define NR_FRAMES	512
#define FIRST_PFN	0x1000UL

extern struct folio frames[NR_FRAMES];

/* The first record of the chain that a tag belongs to. */
static inline struct ksm_record *bucket_of(const struct ksm_unstable *unstable, u32 tag)
{
	unsigned long i = ksm_array_slot(&unstable->buckets, tag);

	return (struct ksm_record *)*ksm_array_at(&unstable->buckets, i);
}

/* fingerprint.c once more, without AVX2. */
u64 portable_fingerprint(const struct ksm_key *key, const void *addr);
bool portable_equal(const void *one, const void *other);

#endif /* _KSM_TEST_SHIM_H */
