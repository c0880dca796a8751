// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of a KVM guest, which reaches it by page tables of its own: whatever is
 * merged behind its back, it finds what was written last, by itself or by the
 * process that it belongs to.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../../../mm/gup_test.h"
#include "ksm_common.h"
#include "ksm_vm.h"

#define PAGES	64
#define KINDS	4
#define SEED	0x9000
#define ROUNDS	30

static char page_of_seed[8192];

static void guest_start(struct ksm_vm *vm, char *memory)
{
	int err = ksm_vm_open(vm, memory, PAGES);

	if (err)
		ksm_skip("there is no KVM: %s", strerror(-err));
}

static void guest_read(struct ksm_vm *vm, size_t offset, size_t size, void *to)
{
	int err = ksm_vm_read(vm, offset, size, to);

	if (err)
		ksm_fail("the guest cannot read: %s", strerror(-err));
}

static void guest_write(struct ksm_vm *vm, size_t offset, size_t size, const void *from)
{
	int err = ksm_vm_write(vm, offset, size, from);

	if (err)
		ksm_fail("the guest cannot write: %s", strerror(-err));
}

static void guest_fill(struct ksm_vm *vm, size_t page, uint64_t seed)
{
	ksm_fill(page_of_seed, seed);
	guest_write(vm, page * psize(), psize(), page_of_seed);
}

static bool guest_holds(struct ksm_vm *vm, size_t page, uint64_t seed)
{
	guest_read(vm, page * psize(), psize(), page_of_seed);
	return ksm_holds(page_of_seed, seed);
}

/* Page by page, each with what it has to hold, for the guest and its process. */
static void check_memory(struct ksm_vm *vm, const char *memory, const uint64_t *seeds)
{
	size_t i;

	for (i = 0; i < PAGES; i++) {
		if (!guest_holds(vm, i, seeds[i]))
			ksm_fail("the guest finds something else in page %zu", i);
		if (!ksm_holds(memory + i * psize(), seeds[i]))
			ksm_fail("page %zu holds something else", i);
	}
}

/* Memory that a guest has filled, merged. */
static char *merged_memory(struct ksm_vm *vm, uint64_t *seeds)
{
	char *memory = ksm_map_mergeable(PAGES);
	size_t i;

	guest_start(vm, memory);
	for (i = 0; i < PAGES; i++) {
		seeds[i] = SEED + i % KINDS;
		guest_fill(vm, i, seeds[i]);
	}
	ksm_settle();
	ksm_expect_figures(KINDS, PAGES - KINDS, 0);
	check_memory(vm, memory, seeds);
	ksm_expect_figures(KINDS, PAGES - KINDS, 0);
	return memory;
}

static void memory_merges(void)
{
	uint64_t seeds[PAGES];
	struct ksm_vm vm;

	merged_memory(&vm, seeds);
	ksm_vm_close(&vm);
	ksm_expect_figures(KINDS, PAGES - KINDS, 0);
}

static void guest_writes(void)
{
	uint64_t seeds[PAGES];
	struct ksm_vm vm;
	char *memory = merged_memory(&vm, seeds);

	seeds[5] = SEED + KINDS;
	guest_fill(&vm, 5, seeds[5]);
	ksm_check(!ksm_is_merged(memory + 5 * psize()), "what the guest wrote to is its own");
	ksm_expect("merged pages", ksm_count_merged(memory, PAGES), PAGES - 1);
	check_memory(&vm, memory, seeds);
}

static void process_writes(void)
{
	uint64_t seeds[PAGES];
	struct ksm_vm vm;
	char *memory = merged_memory(&vm, seeds);

	seeds[7] = SEED + KINDS;
	ksm_fill(memory + 7 * psize(), seeds[7]);
	check_memory(&vm, memory, seeds);
	/* It merges again, with another page than before. */
	seeds[7] = SEED;
	ksm_fill(memory + 7 * psize(), seeds[7]);
	ksm_settle();
	ksm_expect_figures(KINDS, PAGES - KINDS, 0);
	check_memory(&vm, memory, seeds);
}

static void unmerged_below(void)
{
	uint64_t seeds[PAGES];
	struct ksm_vm vm;
	char *memory = merged_memory(&vm, seeds);

	ksm_unmergeable(memory, PAGES);
	ksm_expect("merged pages", ksm_count_merged(memory, PAGES), 0);
	check_memory(&vm, memory, seeds);
	seeds[9] = SEED + KINDS;
	guest_fill(&vm, 9, seeds[9]);
	check_memory(&vm, memory, seeds);
}

/* Between two rounds all pages are alike, so that some merge while others change. */
static void *guest_runs(void *arg)
{
	uint64_t round, found;
	struct ksm_vm *vm = arg;
	size_t i;

	for (round = 1; round <= ROUNDS; round++) {
		for (i = 0; i < PAGES; i++) {
			guest_read(vm, i * psize(), sizeof(found), &found);
			if (found != round - 1)
				ksm_fail("what the guest wrote in round %lu to page %zu was lost",
					 (unsigned long)round - 1, i);
			guest_write(vm, i * psize(), sizeof(round), &round);
		}
	}
	return NULL;
}

static void running_guest(void)
{
	char *memory = ksm_map_mergeable(PAGES);
	long before = ksm_vmstat("cow_ksm");
	pthread_t thread;
	struct ksm_vm vm;
	size_t i;

	guest_start(&vm, memory);
	for (i = 0; i < PAGES; i++)
		guest_write(&vm, i * psize(), sizeof(uint64_t), &(uint64_t){ 0 });
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	if (pthread_create(&thread, NULL, guest_runs, &vm))
		ksm_fail("no thread can be started");
	pthread_join(thread, NULL);
	ksm_stop();
	ksm_check(ksm_vmstat("cow_ksm") > before, "merged pages were written to");
	for (i = 0; i < PAGES; i++)
		ksm_expect("what a page holds", *(uint64_t *)(memory + i * psize()), ROUNDS);
}

/* As VFIO pins all memory of a guest that has a device to itself. */
static void pinned_memory(void)
{
	char *memory = ksm_map_mergeable(PAGES), *seen = ksm_map(PAGES);
	struct pin_longterm_test args = {
		.addr = (uintptr_t)memory,
		.size = PAGES * psize(),
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE,
	};
	int fd = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);
	uint64_t to = (uintptr_t)seen, seeds[PAGES];
	struct ksm_vm vm;
	size_t i;

	guest_start(&vm, memory);
	if (fd < 0 || ioctl(fd, PIN_LONGTERM_TEST_START, &args))
		ksm_skip("nothing pins memory here, which takes CONFIG_GUP_TEST");
	for (i = 0; i < PAGES; i++) {
		seeds[i] = SEED;
		guest_fill(&vm, i, SEED);
	}
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(memory, PAGES), 0);
	seeds[3] = SEED + 1;
	guest_fill(&vm, 3, seeds[3]);
	if (ioctl(fd, PIN_LONGTERM_TEST_READ, &to))
		ksm_fail("PIN_LONGTERM_TEST_READ: %s", strerror(errno));
	ksm_check(!memcmp(seen, memory, args.size), "the device sees what the guest wrote");
	close(fd);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(memory, PAGES), PAGES - 1);
	check_memory(&vm, memory, seeds);
}

/* How many pages of a file are idle, of those that follow the first page. */
static size_t idle_of(int fd, const char *memory)
{
	size_t i, idle = 0;

	for (i = 1; i < PAGES; i++)
		idle += ksm_idle(fd, memory + i * psize());
	return idle;
}

static void guest_reads_all(struct ksm_vm *vm)
{
	uint64_t word;
	size_t i;

	for (i = 0; i < PAGES; i++) {
		guest_read(vm, i * psize(), sizeof(word), &word);
		ksm_expect("a word of a file page", word, i ? 0 : SEED);
	}
}

static char *map_file(void)
{
	int file = memfd_create("ksm_kvm", 0);
	char *memory;

	ksm_check(file >= 0 && !ftruncate(file, PAGES * psize()), "a file is made");
	memory = mmap(NULL, PAGES * psize(), PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	ksm_check(memory != MAP_FAILED, "mmap of a file");
	return memory;
}

/* Not all of memory is tracked: pages elsewhere are kept, and others taken. */
static char *map_tracked_file(int fd)
{
	char *memory;

	do {
		memory = map_file();
		ksm_check_same(memory, PAGES, 0);
	} while (!ksm_idle_tracked(fd, memory, PAGES));
	ksm_mergeable(memory, PAGES);
	return memory;
}

static void mark_accessed(const char *memory)
{
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	uint64_t word;
	size_t i;

	for (i = 0; i < PAGES; i++)
		ksm_check(pread(fd, &word, sizeof(word), (uintptr_t)memory + i * psize()) > 0,
			  "reading /proc/self/mem");
	close(fd);
}

/*
 * When a page that a guest has used is merged, KVM marks it as accessed. If that is the
 * second mark of an inactive page, it is activated: it gets a reference, which ksmd must
 * not take for a use by another. ksmd puts inactive pages on their list at the start of
 * a pass. It records them in one pass, and merges them in the next.
 */
static void merges_at_once(void)
{
	char *memory = ksm_map_mergeable(PAGES);
	struct ksm_vm vm;
	size_t i;

	guest_start(&vm, memory);
	for (i = 0; i < PAGES; i++) {
		ksm_fill(memory + i * psize(), SEED + i % KINDS);
		ksm_check(guest_holds(&vm, i, SEED + i % KINDS), "the guest reads the page");
	}
	ksm_check(!madvise(memory, PAGES * psize(), MADV_COLD), "MADV_COLD");
	ksm_passes(1);
	mark_accessed(memory);
	ksm_passes(1);
	ksm_expect_figures(KINDS, PAGES - KINDS, 0);
}

/*
 * The accessed bit of a guest's page table is cleared by ksmd, for all pages of a leaf.
 * The first page is a page of the process, so that ksmd has a record in that leaf.
 */
static void file_pages(void)
{
	int fd = ksm_open_idle();
	char *memory = map_tracked_file(fd);
	struct ksm_vm vm;
	size_t i;

	guest_start(&vm, memory);
	guest_write(&vm, 0, sizeof(uint64_t), &(uint64_t){ SEED });
	guest_reads_all(&vm);
	ksm_set("smart_scan", 1);
	ksm_passes(5);
	ksm_expect_figures(0, 0, 1);
	for (i = 1; i < PAGES; i++)
		ksm_set_idle(fd, memory + i * psize());
	ksm_expect("idle pages", idle_of(fd, memory), PAGES - 1);
	guest_reads_all(&vm);
	ksm_passes(10);
	ksm_expect("idle pages that the guest has read", idle_of(fd, memory), 0);
}

static const struct ksm_case cases[] = {
	{ "memory that a guest filled merges, and it reads it", memory_merges },
	{ "what a guest has read merges at the first attempt", merges_at_once },
	{ "what a guest writes is its own again", guest_writes },
	{ "what its process writes, a guest sees", process_writes },
	{ "a guest sees its memory when that is unmerged", unmerged_below },
	{ "what a running guest writes while that merges is not lost", running_guest },
	{ "memory of a guest that is pinned for a device does not merge", pinned_memory },
	{ "idle page tracking sees a file page that a guest reads", file_pages },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
