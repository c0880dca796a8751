// SPDX-License-Identifier: GPL-2.0
/*
 * Accesses to the memory of a worker by other means than its CPU: by disks, with pages
 * that are pinned for one request or while a ring is registered, by pipes, and by KVM
 * guests. What the machine does not have is left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ksm_common.h"
#include "ksm_torture.h"
#include "ksm_vm.h"
#include "local_config.h"
#ifdef LOCAL_CONFIG_HAVE_LIBURING
#include <liburing.h>
#endif

/* A ram disk, and a virtio disk: the host carries out its requests. */
static const char *const disks[] = { "/dev/zram1", "/dev/vdb" };

static int open_disk(void)
{
	size_t first = roll(&dice, ARRAY_SIZE(disks));
	int fd = open(disks[first], O_RDWR | O_DIRECT | O_CLOEXEC);

	return fd < 0 ? open(disks[!first], O_RDWR | O_DIRECT | O_CLOEXEC) : fd;
}

/* Each process uses another page of the disk, by its PID. */
static off_t place_on_disk(void)
{
	return (off_t)getpid() * psize();
}

/* Other pages merge with the page while the disk reads it or writes to it. */
void op_direct(struct area *area)
{
	size_t from = roll(&dice, area->pages), to = roll(&dice, area->pages);
	int fd = open_disk();

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

/*
 * A pipe keeps a reference to the page. A write to a shared page goes to a copy. A write
 * to another page may go to the page in the pipe.
 */
static void check_pipe(const struct area *area, size_t i, bool shared, const uint64_t *before,
		       const uint64_t *found)
{
	if (!memcmp(found, before, psize())) {
		torture_count(COUNT_PIPES_OLD);
		return;
	}
	if (shared)
		torture_fail("worker %u: a write went through a shared page to a pipe", worker);
	check_read(area, i, found);
	torture_count(COUNT_PIPES_NEW);
}

static void splice_page(struct area *area, size_t i, const int ends[2])
{
	struct iovec iov = { area->addr + i * psize(), psize() };
	static uint64_t before[8192], found[8192];
	bool shared;

	memcpy(before, iov.iov_base, psize());
	if (vmsplice(ends[1], &iov, 1, 0) != psize())
		return;
	usleep(roll(&dice, 10000));
	shared = has_flag(iov.iov_base, KPF_KSM_BIT);
	if (chance(&dice, 70))
		set_word(area, i);
	usleep(roll(&dice, 10000));
	if (read(ends[0], found, psize()) == psize())
		check_pipe(area, i, shared, before, found);
	check_page(area, i);
}

void op_pipe(struct area *area)
{
	size_t i = roll(&dice, area->pages);
	int ends[2];

	if (pipe(ends))
		return;
	if (area->content[i].freed || area->content[i].at != NO_WORD)
		fill_page(area, i, area->content[i].seed);
	splice_page(area, i, ends);
	close(ends[0]);
	close(ends[1]);
}

/* If the guest gets no memory for the access, the process writes the word. */
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

/* The guest and the process write to the same memory in turn. */
static void run_guest(struct area *area, const struct range *range)
{
	unsigned int turns = 1 + roll(&dice, 20);
	struct ksm_vm vm;
	int err;

	/* If some allocations of KVM fail, the kernel log has a warning. */
	faults_spare_me();
	err = ksm_vm_open(&vm, range->start, range->pages);
	faults_hit_me_again();
	if (err)
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

/* The result of a request that uses the registered buffer. */
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

/* The registered pages have to stay mapped, whatever merges. */
static void copy_by_ring(struct io_uring *ring, struct area *area, const struct range *range)
{
	size_t from = range->from + roll(&dice, range->pages);
	size_t to = range->from + roll(&dice, range->pages);
	int fd = open_disk();

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

/* Register a range with a ring. Returns whether that succeeded. */
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

/* Pin the pages, as a host does for a guest with a device of its own. */
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
