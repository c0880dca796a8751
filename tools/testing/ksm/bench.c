// SPDX-License-Identifier: GPL-2.0
/*
 * Times in nanoseconds on this machine: to hash, compare and copy a page, to search the
 * index that is keyed by fingerprints, and, to compare, a tree ordered by whole pages.
 *
 * Every figure is the best of several runs. The data do not fit into the caches and are
 * read in an order that no prefetcher predicts.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <linux/slab.h>

#include "shim.h"

#define NR_RUNS		3
#define NR_LOOKUPS	200000UL

static struct ksm_key key;
/* Takes the results, or the compiler would leave out the computation. */
u64 sink;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

/**
 * struct field - many pages, and the order in which to read them
 * @pages: the pages, NULL if there is not enough memory for them
 * @nr: number of them
 * @order: lookups, as numbers of pages
 */
struct field {
	u8 *pages;
	unsigned long nr;
	u32 *order;
};

static double best_of(double (*run)(const struct field *field), const struct field *field)
{
	double best = run(field), again;
	unsigned int i;

	for (i = 1; i < NR_RUNS; i++) {
		again = run(field);
		if (again < best)
			best = again;
	}
	return best;
}

static u8 *page_at(const struct field *field, unsigned long nr)
{
	return field->pages + nr * PAGE_SIZE;
}

static double time_hash(const struct field *field,
			u64 (*hash)(const struct ksm_key *key, const void *addr))
{
	double start = now();
	unsigned long i;
	u64 sum = 0;

	for (i = 0; i < field->nr; i++)
		sum += hash(&key, page_at(field, field->order[i] % field->nr));
	sink = sum;
	return (now() - start) / field->nr;
}

static double time_sample(const struct field *field)
{
	return time_hash(field, ksm_sample);
}

static double time_fingerprint(const struct field *field)
{
	return time_hash(field, ksm_fingerprint);
}

static double time_portable(const struct field *field)
{
	return time_hash(field, portable_fingerprint);
}

static double time_compare(const struct field *field,
			   bool (*equal)(const void *one, const void *other))
{
	double start = now();
	unsigned long i;
	u64 sum = 0;

	for (i = 0; i + 1 < field->nr; i += 2)
		sum += equal(page_at(field, field->order[i] % field->nr),
			     page_at(field, field->order[i + 1] % field->nr));
	sink = sum;
	return (now() - start) / (field->nr / 2);
}

static double time_equal(const struct field *field)
{
	return time_compare(field, ksm_equal);
}

static double time_portable_equal(const struct field *field)
{
	return time_compare(field, portable_equal);
}

/* What copy_mc_highpage() does on most machines. */
static bool repeated_copy(void *to, const void *from)
{
#ifdef __x86_64__
	unsigned long left = PAGE_SIZE;

	asm volatile("rep movsb" : "+D" (to), "+S" (from), "+c" (left) : : "memory");
#else
	memcpy(to, from, PAGE_SIZE);
#endif
	return true;
}

static double time_copies(const struct field *field, bool (*copy)(void *to, const void *from))
{
	double start = now();
	unsigned long i;
	u64 sum = 0;

	for (i = 0; i + 1 < field->nr; i += 2)
		sum += copy(page_at(field, field->order[i] % field->nr),
			    page_at(field, field->order[i + 1] % field->nr));
	sink = sum;
	return (now() - start) / (field->nr / 2);
}

static double time_copy(const struct field *field)
{
	return time_copies(field, ksm_copy);
}

static double time_repeated_copy(const struct field *field)
{
	return time_copies(field, repeated_copy);
}

/* Maps and populates memory. Returns NULL if this needs more than half of what is free. */
static void *memory(unsigned long bytes)
{
	unsigned long free_bytes = sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE);
	void *addr;

	if (bytes > free_bytes / 2)
		return NULL;
	addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return addr == MAP_FAILED ? NULL : addr;
}

static void field_init(struct field *field, unsigned long nr, bool same)
{
	unsigned long i;

	*field = (struct field){ .nr = nr, .pages = memory(nr * PAGE_SIZE) };
	if (!field->pages)
		return;
	field->order = calloc(nr, sizeof(*field->order));
	for (i = 0; i < nr; i++) {
		field->order[i] = rnd();
		if (!same)
			*(u64 *)page_at(field, i) = rnd();
	}
}

static void field_free(struct field *field)
{
	if (field->pages)
		munmap(field->pages, field->nr * PAGE_SIZE);
	free(field->order);
}

static void bench_hashes(void)
{
	struct field field;

	field_init(&field, (256UL << 20) / PAGE_SIZE, true);
	if (!field.pages) {
		printf("not enough free memory to time fingerprints\n");
		return;
	}
	printf("nanoseconds a page of %lu bytes\n", PAGE_SIZE);
	printf("  %-34s %8.1f\n", "sample", best_of(time_sample, &field));
	printf("  %-34s %8.1f\n", "fingerprint", best_of(time_fingerprint, &field));
	printf("  %-34s %8.1f\n", "fingerprint, without AVX2",
	       best_of(time_portable, &field));
	printf("  %-34s %8.1f\n", "comparison of two equal pages", best_of(time_equal, &field));
	printf("  %-34s %8.1f\n", "comparison, without AVX2",
	       best_of(time_portable_equal, &field));
	printf("  %-34s %8.1f\n", "copy", best_of(time_copy, &field));
	printf("  %-34s %8.1f\n", "copy, without AVX2", best_of(time_repeated_copy, &field));
	field_free(&field);
}

static struct ksm_unstable table;

static void fill_table(struct ksm_record *records, unsigned long nr)
{
	unsigned long i;

	if (ksm_unstable_init(&table))
		abort();
	for (i = 0; i < nr; i++) {
		records[i].tag = rnd();
		ksm_unstable_insert(&table, &records[i]);
		while (ksm_unstable_adjust(&table))
			;
	}
}

static double time_find(const struct ksm_record *records, unsigned long nr)
{
	double start = now();
	unsigned long i;
	u64 sum = 0;

	/* The next tag depends on what was found, so that lookups don't overlap. */
	for (i = 0; i < NR_LOOKUPS; i++) {
		u64 pick = rnd() + (sum & 1);
		u32 tag = records ? records[pick % nr].tag : pick;

		sum += (unsigned long)ksm_unstable_find(&table, tag, false);
	}
	sink = sum;
	return (now() - start) / NR_LOOKUPS;
}

static double best_find(const struct ksm_record *records, unsigned long nr)
{
	double best = time_find(records, nr), again;
	unsigned int i;

	for (i = 1; i < NR_RUNS; i++) {
		again = time_find(records, nr);
		if (again < best)
			best = again;
	}
	return best;
}

/**
 * struct tree_node - a page in the tree that is ordered by content
 * @rb: in the tree
 * @page: the page
 */
struct tree_node {
	struct rb_node rb;
	const u8 *page;
};

static struct rb_node **tree_find(struct rb_root *root, const u8 *page,
				  struct rb_node **parent)
{
	struct rb_node **link = &root->rb_node;

	while (*link) {
		int order;

		*parent = *link;
		order = memcmp(page, rb_entry(*parent, struct tree_node, rb)->page, PAGE_SIZE);
		if (!order)
			break;
		link = order < 0 ? &(*parent)->rb_left : &(*parent)->rb_right;
	}
	return link;
}

static void fill_tree(struct rb_root *root, struct tree_node *nodes,
		      const struct field *field)
{
	unsigned long i;

	for (i = 0; i < field->nr; i++) {
		struct rb_node *parent = NULL, **link;

		nodes[i].page = page_at(field, i);
		link = tree_find(root, nodes[i].page, &parent);
		if (*link)
			continue;
		rb_link_node(&nodes[i].rb, parent, link);
		rb_insert_color(&nodes[i].rb, root);
	}
}

static double time_tree(struct rb_root *root)
{
	static u64 page[PAGE_SIZE / sizeof(u64)];
	double start = now();
	unsigned long i;
	u64 sum = 0;

	for (i = 0; i < NR_LOOKUPS; i++) {
		struct rb_node *parent = NULL;

		page[0] = rnd() + (sum & 1);
		sum += !!*tree_find(root, (u8 *)page, &parent);
	}
	sink = sum;
	return (now() - start) / NR_LOOKUPS;
}

/* Nanoseconds to find that a page is not in the tree; less than 0 if it does not fit. */
static double bench_tree(unsigned long nr)
{
	struct rb_root root = RB_ROOT;
	struct tree_node *nodes;
	double best, again;
	struct field field;
	unsigned int i;

	field_init(&field, nr, false);
	if (!field.pages)
		return -1;
	nodes = calloc(nr, sizeof(*nodes));
	fill_tree(&root, nodes, &field);
	best = time_tree(&root);
	for (i = 1; i < NR_RUNS; i++) {
		again = time_tree(&root);
		if (again < best)
			best = again;
	}
	free(nodes);
	field_free(&field);
	return best;
}

static void bench_index(unsigned long nr)
{
	struct ksm_record *records = calloc(nr, sizeof(*records));
	double miss, hit, tree;

	fill_table(records, nr);
	miss = best_find(NULL, nr);
	hit = best_find(records, nr);
	ksm_unstable_destroy(&table);
	free(records);
	tree = bench_tree(nr);
	printf("  %10lu %12.1f %12.1f ", nr, miss, hit);
	if (tree < 0)
		printf("%21s %8s\n", "not enough memory", "");
	else
		printf("%21.1f %8.1f\n", tree, tree / miss);
}

int main(int argc, char **argv)
{
	unsigned long most = 10000000, nr;

	if (argc > 2 || (argc == 2 && !atol(argv[1]))) {
		fprintf(stderr, "usage: %s [MOST-PAGES]\n", argv[0]);
		return 2;
	}
	if (argc == 2)
		most = atol(argv[1]);
	shim_reset();
	rnd_seed(1);
	ksm_fingerprint_init();
	ksm_key_init(&key, zero_page);
	bench_hashes();
	printf("nanoseconds a lookup\n");
	printf("  %10s %12s %12s %21s %8s\n", "pages", "index, miss", "index, hit",
	       "tree of pages, miss", "ratio");
	for (nr = 10000; nr <= most; nr *= 10)
		bench_index(nr);
	return 0;
}
