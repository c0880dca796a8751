// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel around the code under test.
 */

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/hugetlb.h>
#include <linux/jiffies.h>
#include <linux/memcontrol.h>
#include <linux/random.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "shim.h"

struct ksm_lock lock;	/* of the domains under test */
struct ksm_controls controls;
struct ksm_key secret;
const u64 zero_page[PAGE_SIZE / sizeof(u64)];
struct shim shim;
struct folio frames[NR_FRAMES];
unsigned long jiffies;
struct task_struct ksmd;
int nr_node_ids = 4;

static u64 rnd_state;

void rnd_seed(u64 seed)
{
	rnd_state = seed;
}

/* SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators"). */
u64 rnd(void)
{
	u64 z = rnd_state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

u32 rnd_below(u32 ceil)
{
	return (rnd() >> 32) * ceil >> 32;
}

bool one_in(u32 n)
{
	return !rnd_below(n);
}

void get_random_bytes(void *buf, size_t len)
{
	u8 *byte = buf;

	while (len--)
		*byte++ = rnd();
}

u32 get_random_u32_below(u32 ceil)
{
	return rnd_below(ceil);
}

void shim_warn(const char *file, int line, const char *what)
{
	if (!shim.warnings++)
		printf("# %s:%d: warning: %s\n", file, line, what);
}

static void race_for(struct folio *folio)
{
	if (shim.race)
		shim.race(folio);
}

void shim_race(void)
{
	race_for(NULL);
}

void shim_reset(void)
{
	shim.fail_after = -1;
	shim.failed = 0;
	shim.allocations = 0;
	shim.bytes = 0;
	shim.largest = 0;
	shim.warnings = 0;
	shim.hugetlb = 0;
	shim.race = NULL;
	jiffies = 0;
	lock.mutex.held = true;
	controls = (struct ksm_controls){
		.prune_millisecs = 2000,
		.max_page_sharing = 256,
		.merge_across_nodes = true,
	};
}

static bool allocation_fails(void)
{
	if (shim.fail_after < 0)
		return false;
	if (shim.fail_after--)
		return false;
	shim.failed++;
	return true;
}

struct kmem_cache {
	struct kmem_cache *next;
	const char *name;
	size_t size;
	bool account;
	long objects;
};

static struct kmem_cache *caches;

struct kmem_cache *kmem_cache_create(const char *name, unsigned int size,
				     unsigned int align, unsigned int flags,
				     void (*ctor)(void *object))
{
	struct kmem_cache *cache;

	WARN_ON(align || (flags & ~SLAB_ACCOUNT) || ctor);
	if (allocation_fails())
		return NULL;
	cache = calloc(1, sizeof(*cache));
	cache->name = name;
	cache->size = size;
	cache->account = flags & SLAB_ACCOUNT;
	cache->next = caches;
	caches = cache;
	shim.caches++;
	return cache;
}

void kmem_cache_destroy(struct kmem_cache *cache)
{
	struct kmem_cache **link = &caches;

	if (!cache)
		return;
	WARN_ON(cache->objects);
	while (*link != cache)
		link = &(*link)->next;
	*link = cache->next;
	free(cache);
	shim.caches--;
}

/* Caches last as long as the kernel runs, and a test is over sooner. */
void shim_destroy_caches(void)
{
	while (caches)
		kmem_cache_destroy(caches);
}

long shim_objects_of(const char *name)
{
	struct kmem_cache *cache;
	long objects = 0;

	for (cache = caches; cache; cache = cache->next)
		if (!strcmp(cache->name, name))
			objects += cache->objects;
	return objects;
}

static struct mem_cgroup *active_memcg;

struct mem_cgroup *get_mem_cgroup_from_mm(struct mm_struct *mm)
{
	if (mm->memcg)
		mm->memcg->references++;
	return mm->memcg;
}

void mem_cgroup_put(struct mem_cgroup *memcg)
{
	if (memcg)
		memcg->references--;
}

struct mem_cgroup *set_active_memcg(struct mem_cgroup *memcg)
{
	struct mem_cgroup *old = active_memcg;

	active_memcg = memcg;
	return old;
}

/* In front of each object of a cache: the cgroup that it is charged to. */
struct object {
	struct mem_cgroup *memcg;
	u64 body[];
};

void *kmem_cache_zalloc(struct kmem_cache *cache, gfp_t gfp)
{
	struct mem_cgroup *memcg = cache->account ? active_memcg : NULL;
	struct object *object;

	if (allocation_fails() || (memcg && memcg->full))
		return NULL;
	cache->objects++;
	shim.objects++;
	object = calloc(1, sizeof(*object) + cache->size);
	object->memcg = memcg;
	if (memcg)
		memcg->charged += cache->size;
	return object->body;
}

void kmem_cache_free(struct kmem_cache *cache, void *body)
{
	struct object *object;

	WARN_ON(!body || !cache->objects);
	object = container_of(body, struct object, body);
	cache->objects--;
	shim.objects--;
	if (object->memcg)
		object->memcg->charged -= cache->size;
	free(object);
}

void kmem_cache_free_bulk(struct kmem_cache *cache, size_t nr, void **objects)
{
	while (nr--)
		kmem_cache_free(cache, objects[nr]);
}

/* The size of an object of a cache, for tests of what memory is used. */
size_t shim_object_size(void *body)
{
	return malloc_usable_size(container_of(body, struct object, body)) -
	       sizeof(struct object);
}

void *kcalloc(size_t nr, size_t size, gfp_t gfp)
{
	if (allocation_fails())
		return NULL;
	shim.objects++;
	shim.allocations++;
	shim.bytes += nr * size;
	if (nr * size > shim.largest)
		shim.largest = nr * size;
	return calloc(nr, size);
}

/* Under ASan this is what was asked for. */
size_t ksize(const void *object)
{
	return malloc_usable_size((void *)object);
}

void kfree(const void *object)
{
	if (object) {
		shim.objects--;
		shim.bytes -= ksize(object);
	}
	free((void *)object);
}

unsigned long totalram_pages(void)
{
	return shim.ram;
}

unsigned long hugetlb_total_pages(void)
{
	return shim.hugetlb;
}

long si_mem_available(void)
{
	return shim.available;
}

struct folio *pfn_folio(unsigned long pfn)
{
	if (WARN_ON(pfn - FIRST_PFN >= NR_FRAMES))
		return &frames[0];
	WARN_ON(frames[pfn - FIRST_PFN].offline);
	return &frames[pfn - FIRST_PFN];
}

bool folio_try_get(struct folio *folio)
{
	race_for(folio);
	if (!folio->refs)
		return false;
	folio->refs++;
	return true;
}

void folio_put(struct folio *folio)
{
	if (WARN_ON(!folio->refs))
		return;
	if (--folio->refs)
		return;
	/* The last reference: the page is freed. */
	WARN_ON(folio->locked || folio->mapcount || folio->swapcache);
	folio->mapping = NULL;
}

bool folio_trylock(struct folio *folio)
{
	race_for(folio);
	WARN_ON(!folio->refs);
	if (folio->locked)
		return false;
	folio->locked = true;
	return true;
}

/* While this waits, other threads run, until the owner releases the lock. */
void folio_lock(struct folio *folio)
{
	do {
		race_for(folio);
		WARN_ON(!folio->refs);
	} while (folio->locked && shim.race);
	WARN_ON(folio->locked);
	folio->locked = true;
}

void folio_unlock(struct folio *folio)
{
	WARN_ON(!folio->locked);
	folio->locked = false;
}
