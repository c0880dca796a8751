// SPDX-License-Identifier: GPL-2.0
/*
 * The common part of the ksm_* selftests: memory of known content, and what the kernel
 * reports about its pages. See ksm_common.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_common.h"

/* Memory. */

/* The area may be larger than memory: only pages that are used take memory. */
char *ksm_map(size_t pages)
{
	char *area = mmap(NULL, pages * psize(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED)
		ksm_fail("mapping %zu pages: %s", pages, strerror(errno));
	/* Only ksm_thp tests huge pages. */
	madvise(area, pages * psize(), MADV_NOHUGEPAGE);
	return area;
}

void ksm_mergeable(void *area, size_t pages)
{
	if (madvise(area, pages * psize(), MADV_MERGEABLE))
		ksm_fail("MADV_MERGEABLE: %s", strerror(errno));
}

void ksm_unmergeable(void *area, size_t pages)
{
	if (madvise(area, pages * psize(), MADV_UNMERGEABLE))
		ksm_fail("MADV_UNMERGEABLE: %s", strerror(errno));
}

char *ksm_map_mergeable(size_t pages)
{
	char *area = ksm_map(pages);

	ksm_mergeable(area, pages);
	return area;
}

/* A hash of seed and index. The words of seed 0 are 0. */
static uint64_t word_of(uint64_t seed, size_t index)
{
	uint64_t word = seed * 0x9e3779b97f4a7c15ULL + index;

	if (!seed)
		return 0;
	word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ULL;
	return word ^ (word >> 27);
}

void ksm_fill(char *page, uint64_t seed)
{
	uint64_t *words = (uint64_t *)page;
	size_t i;

	for (i = 0; i < psize() / sizeof(*words); i++)
		words[i] = word_of(seed, i);
}

bool ksm_holds(const char *page, uint64_t seed)
{
	const uint64_t *words = (const uint64_t *)page;
	size_t i;

	for (i = 0; i < psize() / sizeof(*words); i++)
		if (words[i] != word_of(seed, i))
			return false;
	return true;
}

void ksm_fill_same(char *area, size_t pages, uint64_t seed)
{
	size_t i;

	for (i = 0; i < pages; i++)
		ksm_fill(area + i * psize(), seed);
}

void ksm_fill_unique(char *area, size_t pages, uint64_t seed)
{
	size_t i;

	for (i = 0; i < pages; i++)
		ksm_fill(area + i * psize(), seed + i);
}

void ksm_check_same(const char *area, size_t pages, uint64_t seed)
{
	size_t i;

	for (i = 0; i < pages; i++)
		if (!ksm_holds(area + i * psize(), seed))
			ksm_fail("page %zu of %zu no longer holds what was written", i, pages);
}

void ksm_check_unique(const char *area, size_t pages, uint64_t seed)
{
	size_t i;

	for (i = 0; i < pages; i++)
		if (!ksm_holds(area + i * psize(), seed + i))
			ksm_fail("page %zu of %zu no longer holds what was written", i, pages);
}

/* With pages of 64 KiB, a huge page has 512 MiB. */
static bool is_too_large(size_t size)
{
	return size > (size_t)sysconf(_SC_PHYS_PAGES) * psize() / 32;
}

/* Pages of a huge page. Skips the case if there are none. */
size_t ksm_huge_pages(void)
{
	static size_t size;

	if (!size)
		size = read_pmd_pagesize();
	if (!size)
		ksm_skip("there are no transparent huge pages here");
	if (is_too_large(size))
		ksm_skip("a huge page of %zu MiB is too large for this machine", size >> 20);
	return size / psize();
}

/* Room for so many huge pages, all of which a fill makes huge. */
char *ksm_map_huge(unsigned int count)
{
	size_t size = ksm_huge_pages() * psize();
	char *area = mmap(NULL, (count + 1) * size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ksm_check(area != MAP_FAILED, "mmap");
	area = (char *)(((uintptr_t)area + size - 1) & ~(size - 1));
	if (madvise(area, count * size, MADV_HUGEPAGE))
		ksm_skip("MADV_HUGEPAGE is not known here");
	return area;
}

/* Mergeable huge pages of unique content. Skips the case if there are none. */
char *ksm_huge_area(unsigned int count, uint64_t seed)
{
	const size_t pages = count * ksm_huge_pages();
	char *area = ksm_map_huge(count);

	ksm_fill_unique(area, pages, seed);
	if (ksm_count_flag(area, pages, KPF_THP_BIT) != pages)
		ksm_skip("no huge pages could be allocated");
	ksm_mergeable(area, pages);
	return area;
}

/* Maps equal pages, has ksmd merge them and stops ksmd. */
char *ksm_merged_area(size_t pages, uint64_t seed)
{
	char *area = ksm_map_mergeable(pages);

	ksm_fill_same(area, pages, seed);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, pages), pages);
	return area;
}

/*
 * Whether an access is refused. The kernel makes it for the process, and returns an
 * error where the process itself would get a signal.
 */
bool ksm_access_refused(char *byte, bool write_it)
{
	char value = 1;
	ssize_t done;
	int ends[2];

	ksm_check(!pipe(ends), "pipe");
	if (write_it) {
		ksm_check(write(ends[1], &value, 1) == 1, "writing to a pipe");
		done = read(ends[0], byte, 1);
	} else {
		done = write(ends[1], byte, 1);
	}
	close(ends[0]);
	close(ends[1]);
	return done < 0 && errno == EFAULT;
}

/* Pages. */

/*
 * A file with an entry for each page. It stays open, because tests read the entries of
 * many pages. pagemap shows the process that opened it, so a child opens it again.
 */
struct page_file {
	const char *path;
	int fd;
	pid_t owner;
};

static struct page_file pagemap = { .path = "/proc/self/pagemap" };
static struct page_file kpageflags = { .path = "/proc/kpageflags" };
static struct page_file kpagecount = { .path = "/proc/kpagecount" };

static void open_page_file(struct page_file *file)
{
	if (file->owner == getpid())
		return;
	if (file->owner)
		close(file->fd);
	file->fd = open(file->path, O_RDONLY | O_CLOEXEC);
	if (file->fd < 0 && (errno == ENOENT || errno == EACCES))
		ksm_skip("%s cannot be opened: %s", file->path, strerror(errno));
	if (file->fd < 0)
		ksm_fail("opening %s: %s", file->path, strerror(errno));
	file->owner = getpid();
}

static void read_entries(struct page_file *file, uint64_t index, uint64_t *entries, size_t count)
{
	const ssize_t size = count * sizeof(*entries);

	open_page_file(file);
	if (pread(file->fd, entries, size, index * sizeof(*entries)) != size)
		ksm_fail("reading %s: %s", file->path, strerror(errno));
}

static uint64_t read_entry(struct page_file *file, uint64_t index)
{
	uint64_t entry = 0;

	read_entries(file, index, &entry, 1);
	return entry;
}

uint64_t ksm_pagemap(const void *addr)
{
	return read_entry(&pagemap, (uintptr_t)addr / psize());
}

void ksm_read_pagemap(const void *addr, size_t pages, uint64_t *entries)
{
	read_entries(&pagemap, (uintptr_t)addr / psize(), entries, pages);
}

unsigned long ksm_pfn(const void *addr)
{
	uint64_t entry = ksm_pagemap(addr);

	return PAGEMAP_PRESENT(entry) ? PAGEMAP_PFN(entry) : 0;
}

uint64_t ksm_pageflags(const void *addr)
{
	unsigned long pfn = ksm_pfn(addr);

	return pfn ? read_entry(&kpageflags, pfn) : 0;
}

long ksm_mapcount(const void *addr)
{
	unsigned long pfn = ksm_pfn(addr);

	return pfn ? (long)read_entry(&kpagecount, pfn) : 0;
}

static bool probe_flag(void)
{
	char *page = ksm_map(1);
	bool result;

	ksm_fill(page, 1);
	result = !(ksm_pageflags(page) & KPF_KSM_BIT);
	munmap(page, psize());
	return result;
}

/* Some kernels set the flag for all anonymous pages. */
bool ksm_flag_trusted(void)
{
	static int trusted = -1;

	if (trusted < 0)
		trusted = probe_flag();
	return trusted;
}

/* If the flag means nothing, a page with several mappings counts as merged. */
bool ksm_is_merged(const void *addr)
{
	return (ksm_pageflags(addr) & KPF_KSM_BIT) &&
	       (ksm_flag_trusted() || ksm_mapcount(addr) > 1);
}

/* Idle page tracking. A page whose bit is still set was not used since it was set. */

int ksm_open_idle(void)
{
	int fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR);

	if (fd < 0)
		ksm_skip("there is no idle page tracking");
	return fd;
}

bool ksm_idle(int fd, const void *addr)
{
	unsigned long pfn = ksm_pfn(addr);
	uint64_t bits = 0;

	pread(fd, &bits, sizeof(bits), pfn / 64 * sizeof(bits));
	return bits & BIT_ULL(pfn % 64);
}

void ksm_set_idle(int fd, const void *addr)
{
	unsigned long pfn = ksm_pfn(addr);
	uint64_t bits = BIT_ULL(pfn % 64);

	pwrite(fd, &bits, sizeof(bits), pfn / 64 * sizeof(bits));
}

/* The bitmap has no bits for the last page frames if there are less than 64 of them. */
bool ksm_idle_tracked(int fd, const char *area, size_t pages)
{
	uint64_t bits;
	size_t i;

	for (i = 0; i < pages; i++) {
		ssize_t size = pread(fd, &bits, sizeof(bits),
				     ksm_pfn(area + i * psize()) / 64 * sizeof(bits));

		if (size < 0)
			ksm_fail("the idle bitmap cannot be read: %s", strerror(errno));
		if (!size)
			return false;
	}
	return true;
}

/* The next use of a page sets its accessed bit, which the TLB would prevent. */
void ksm_flush_tlb(char *area, size_t pages)
{
	mprotect(area, pages * psize(), PROT_NONE);
	mprotect(area, pages * psize(), PROT_READ | PROT_WRITE);
}

size_t ksm_count_soft_dirty(const char *area, size_t pages)
{
	size_t i, count = 0;

	for (i = 0; i < pages; i++)
		count += !!(ksm_pagemap(area + i * psize()) & PM_SOFT_DIRTY);
	return count;
}

void ksm_clear_soft_dirty(void)
{
	ksm_check(!ksm_write_file("/proc/self/clear_refs", "4"), "clear_refs");
}

size_t ksm_count_flag(const char *area, size_t pages, uint64_t flag)
{
	size_t i, count = 0;

	for (i = 0; i < pages; i++)
		if (ksm_pageflags(area + i * psize()) & flag)
			count++;
	return count;
}

size_t ksm_count_merged(const char *area, size_t pages)
{
	size_t i, count = 0;

	for (i = 0; i < pages; i++)
		count += ksm_is_merged(area + i * psize());
	return count;
}

/* Fails the case unless @want pages of the area are merged. */
void ksm_expect_merged(const char *area, size_t pages, size_t want)
{
	ksm_expect("merged pages", ksm_count_merged(area, pages), want);
}

static int compare_pfns(const void *a, const void *b)
{
	const unsigned long *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

size_t ksm_distinct_merged(const char *area, size_t pages)
{
	unsigned long *pfns = calloc(pages, sizeof(*pfns));
	size_t i, count = 0, distinct = 0;

	for (i = 0; i < pages; i++)
		if (ksm_is_merged(area + i * psize()))
			pfns[count++] = ksm_pfn(area + i * psize());
	qsort(pfns, count, sizeof(*pfns), compare_pfns);
	for (i = 0; i < count; i++)
		distinct += !i || pfns[i] != pfns[i - 1];
	free(pfns);
	return distinct;
}
