// SPDX-License-Identifier: GPL-2.0
/*
 * What goes to the memory of a worker by other ways than the CPU's: from disks,
 * with pages that are pinned for one request or for as long as a ring has them,
 * from KVM guests, and from userfaultfd. What the machine does not have is left
 * out.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ksm_common.h"
#include "ksm_torture.h"
#include "ksm_vm.h"
#include "local_config.h"
#ifdef LOCAL_CONFIG_HAVE_LIBURING
#include <liburing.h>
#endif

static off_t place_on_disk(void)
{
	return (off_t)getpid() * psize();
}

/* Others merge with a page while the disk reads it, and while it is written to. */
void op_direct(struct area *area)
{
	size_t from = roll(&dice, area->pages), to = roll(&dice, area->pages);
	int fd = open(TORTURE_DISK, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		return;
	if (area->content[from].freed)
		fill_page(area, from, area->content[from].seed);
	if (pwrite(fd, area->addr + from * psize(), psize(), place_on_disk()) == psize()) {
		if (pread(fd, area->addr + to * psize(), psize(), place_on_disk()) == psize())
			area->content[to] = area->content[from];
		else
			fill_page(area, to, any_seed());
		check_page(area, to);
	}
	close(fd);
}

/* What a guest cannot reach, for want of memory, is written by the process. */
static void guest_turn(struct ksm_vm *vm, struct area *area, const struct range *range)
{
	size_t at = roll(&dice, range->pages), i = range->from + at;
	static uint64_t page[8192];
	const struct content *content;

	if (chance(&dice, 50)) {
		if (!ksm_vm_read(vm, at * psize(), psize(), page))
			check_read(area, i, page);
		return;
	}
	content = choose_word(area, i);
	if (ksm_vm_write(vm, at * psize() + content->at * sizeof(content->word),
			 sizeof(content->word), &content->word))
		fill_page(area, i, content->seed);
}

/* The guest and its process take turns at the same memory. */
static void run_guest(struct area *area, const struct range *range)
{
	unsigned int turns = 1 + roll(&dice, 20);
	struct ksm_vm vm;

	if (ksm_vm_open(&vm, range->start, range->pages))
		return;
	while (turns--) {
		if (chance(&dice, 70))
			guest_turn(&vm, area, range);
		else if (chance(&dice, 50))
			set_word(area, range->from + roll(&dice, range->pages));
		else
			usleep(roll(&dice, 10000));
	}
	ksm_vm_close(&vm);
}

static struct range guest_range(struct area *area)
{
	struct range range = any_range(area);

	if (range.pages > KSM_VM_MOST_PAGES)
		range.pages = KSM_VM_MOST_PAGES;
	return range;
}

void op_guest(struct area *area)
{
	struct range range = guest_range(area);

	run_guest(area, &range);
}

#ifdef LOCAL_CONFIG_HAVE_LIBURING

/* The result of one request, whose buffer is the registered one. */
static int ring_request(struct io_uring *ring, bool write, int fd, void *page)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int result;

	if (write)
		io_uring_prep_write_fixed(sqe, fd, page, psize(), place_on_disk(), 0);
	else
		io_uring_prep_read_fixed(sqe, fd, page, psize(), place_on_disk(), 0);
	if (io_uring_submit(ring) != 1)
		return -EIO;
	do {
		result = io_uring_wait_cqe(ring, &cqe);
	} while (result == -EINTR);
	if (result)
		return result;
	result = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return result;
}

/* The pages that a ring has are those that are mapped, whatever merges. */
static void copy_by_ring(struct io_uring *ring, struct area *area, const struct range *range)
{
	size_t from = range->from + roll(&dice, range->pages);
	size_t to = range->from + roll(&dice, range->pages);
	int fd = open(TORTURE_DISK, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		return;
	fill_page(area, from, any_seed());
	set_word(area, from);
	if (ring_request(ring, true, fd, area->addr + from * psize()) == psize()) {
		if (ring_request(ring, false, fd, area->addr + to * psize()) == psize())
			area->content[to] = area->content[from];
		else
			fill_page(area, to, any_seed());
		check_page(area, to);
	}
	close(fd);
}

/* Whether a ring has the pages of a range for itself now. */
static bool pin(struct io_uring *ring, const struct range *range)
{
	struct iovec iov = { range->start, range->pages * psize() };

	if (io_uring_queue_init(1, ring, 0))
		return false;
	if (!io_uring_register_buffers(ring, &iov, 1))
		return true;
	io_uring_queue_exit(ring);
	return false;
}

static void unpin(struct io_uring *ring)
{
	io_uring_unregister_buffers(ring);
	io_uring_queue_exit(ring);
}

void op_io_uring(struct area *area)
{
	struct range range = any_range(area);
	struct io_uring ring;

	if (!pin(&ring, &range))
		return;
	usleep(roll(&dice, 20000));
	copy_by_ring(&ring, area, &range);
	unpin(&ring);
}

/* As a guest's memory is pinned that has a device to itself. */
void op_pinned_guest(struct area *area)
{
	struct range range = guest_range(area);
	struct io_uring ring;

	if (!pin(&ring, &range))
		return;
	run_guest(area, &range);
	unpin(&ring);
}

#else

void op_io_uring(struct area *area)
{
}

void op_pinned_guest(struct area *area)
{
}

#endif /* LOCAL_CONFIG_HAVE_LIBURING */

/* A process has one of its own; that of its parent is about the parent's memory. */
static int userfaultfd(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };
	static pid_t owner;
	static int fd = -1;

	if (owner == getpid())
		return fd;
	close(fd);
	owner = getpid();
	fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool watch(const struct uffdio_range *range, uint64_t mode)
{
	struct uffdio_register args = { .range = *range, .mode = mode };

	return !ioctl(userfaultfd(), UFFDIO_REGISTER, &args);
}

static void unwatch(const struct uffdio_range *range)
{
	if (ioctl(userfaultfd(), UFFDIO_UNREGISTER, range))
		torture_fail("worker %u: UFFDIO_UNREGISTER: %s", worker, strerror(errno));
}

/* Puts @page where nothing is; whether that was done. */
static bool place(void *to, void *page)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)to, .src = (uintptr_t)page, .len = psize(),
	};
	struct uffdio_move move = {
		.dst = (uintptr_t)to, .src = (uintptr_t)page, .len = psize(),
	};

	if (chance(&dice, 60))
		return !ioctl(userfaultfd(), UFFDIO_COPY, &copy);
	/* One that has been merged already is not moved. */
	if (chance(&dice, 50)) {
		madvise(page, psize(), MADV_MERGEABLE);
		usleep(roll(&dice, 20000));
	}
	return !ioctl(userfaultfd(), UFFDIO_MOVE, &move);
}

/* Nothing else runs in this process that could wait for a page meanwhile. */
void op_place(struct area *area)
{
	struct range range = any_range(area);
	struct uffdio_range where = { (uintptr_t)range.start, range.pages * psize() };
	uint64_t seed = any_seed();
	size_t i;

	if (!drop(area, &range) || !watch(&where, UFFDIO_REGISTER_MODE_MISSING))
		return;
	for (i = range.from; i < range.from + range.pages; i++) {
		char *page = mmap(NULL, psize(), PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (page == MAP_FAILED)
			break;
		ksm_fill(page, seed);
		if (place(area->addr + i * psize(), page))
			area->content[i].seed = seed;
		munmap(page, psize());
	}
	unwatch(&where);
}

static bool reported(const struct page_region *regions, int count, const char *page)
{
	while (count--)
		if (regions[count].start <= (uintptr_t)page && (uintptr_t)page < regions[count].end)
			return true;
	return false;
}

/* What is written to while writes are tracked is reported, merged or not. */
static void track(struct area *area, const struct range *range)
{
	static struct page_region regions[HUGE_PAGES];
	struct uffdio_writeprotect protect = {
		.range = { (uintptr_t)range->start, range->pages * psize() },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = protect.range.start,
		.end = protect.range.start + protect.range.len,
		.vec = (uintptr_t)regions,
		.vec_len = ARRAY_SIZE(regions),
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	size_t i = range->from + roll(&dice, range->pages);
	int fd, count;

	if (ioctl(userfaultfd(), UFFDIO_WRITEPROTECT, &protect))
		return;
	set_word(area, i);
	usleep(roll(&dice, 30000));
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	count = ioctl(fd, PAGEMAP_SCAN, &scan);
	if (count >= 0 && !reported(regions, count, area->addr + i * psize()))
		torture_fail("worker %u: PAGEMAP_SCAN misses a page that was written to", worker);
	close(fd);
}

void op_track(struct area *area)
{
	struct range range = any_range(area);
	struct uffdio_range where = { (uintptr_t)range.start, range.pages * psize() };

	if (!watch(&where, UFFDIO_REGISTER_MODE_WP))
		return;
	track(area, &range);
	unwatch(&where);
}
