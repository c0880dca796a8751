// SPDX-License-Identifier: GPL-2.0
/*
 * Memory under userfaultfd: pages that UFFDIO_COPY maps, writes that are tracked, and
 * faults that a thread serves: missing, write-protected and minor faults. What the
 * kernel does not have is left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ksm_common.h"
#include "ksm_torture.h"

/* A fault takes two threads and some time, so there are few. */
#define MOST_SERVED	48
#define MINOR_PAGES	16
#define SERVER_NAP_MS	50

/* Whether writes can be tracked without a thread that serves them. */
static bool tracks;

/* -1 if the kernel has no userfaultfd, or not the features. */
static int open_userfaultfd(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || !ioctl(fd, UFFDIO_API, &api))
		return fd;
	close(fd);
	return -1;
}

/* Each process opens its own. That of its parent is for the parent's memory. */
static int userfaultfd(void)
{
	static pid_t owner;
	static int fd = -1;

	if (owner == getpid())
		return fd;
	close(fd);
	owner = getpid();
	fd = open_userfaultfd(UFFD_FEATURE_WP_ASYNC);
	tracks = fd >= 0;
	if (!tracks)
		fd = open_userfaultfd(0);
	return fd;
}

static bool watch(const struct uffdio_range *range, uint64_t mode)
{
	struct uffdio_register args = { .range = *range, .mode = mode };

	return !ioctl(userfaultfd(), UFFDIO_REGISTER, &args);
}

static int unregister(void *range)
{
	return ioctl(userfaultfd(), UFFDIO_UNREGISTER, range);
}

static void unwatch(struct uffdio_range *range)
{
	if (try_hard(unregister, range))
		torture_fail("worker %u: UFFDIO_UNREGISTER: %s", worker, strerror(errno));
}

/* Map a copy of @page at an empty address. Returns whether that succeeded. */
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
	/* A page that is merged already is not moved. */
	if (chance(&dice, 50)) {
		madvise(page, psize(), MADV_MERGEABLE);
		usleep(roll(&dice, 20000));
	}
	return !ioctl(userfaultfd(), UFFDIO_MOVE, &move);
}

/* No other thread of this process can wait for a page meanwhile. */
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

/* Each tracked write has to be reported, whether the page is merged or not. */
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

	if (userfaultfd() < 0 || !tracks || !watch(&where, UFFDIO_REGISTER_MODE_WP))
		return;
	track(area, &range);
	unwatch(&where);
}

/* Faults that are served */

/**
 * struct server - a thread that waits for faults
 * @thread: the thread
 * @fd: the userfaultfd
 * @start: the memory
 * @mode: the mode of its registration
 * @seeds: contents for missing pages
 * @served: faults that were served, for each page
 * @over: no more faults will come
 */
struct server {
	pthread_t thread;
	int fd;
	char *start;
	uint64_t mode;
	uint64_t seeds[MOST_SERVED];
	unsigned int served[MOST_SERVED];
	int over;
};

static int fill_missing(struct server *server, size_t i, const struct uffdio_range *where)
{
	static uint64_t page[8192];
	struct uffdio_copy copy = {
		.dst = where->start, .src = (uintptr_t)page, .len = where->len,
	};
	struct uffdio_zeropage zero = { .range = *where };

	if (!server->seeds[i] && i % 2)
		return ioctl(server->fd, UFFDIO_ZEROPAGE, &zero);
	ksm_fill((char *)page, server->seeds[i]);
	return ioctl(server->fd, UFFDIO_COPY, &copy);
}

static int answer(struct server *server, size_t i, const struct uffdio_range *where)
{
	struct uffdio_writeprotect allow = { .range = *where };
	struct uffdio_continue go_on = { .range = *where };

	if (server->mode == UFFDIO_REGISTER_MODE_WP)
		return ioctl(server->fd, UFFDIO_WRITEPROTECT, &allow);
	if (server->mode == UFFDIO_REGISTER_MODE_MINOR)
		return ioctl(server->fd, UFFDIO_CONTINUE, &go_on);
	return fill_missing(server, i, where);
}

/* If that fails, the waiting thread faults again, and sends another message. */
static void serve_one(struct server *server, uint64_t address)
{
	size_t i = (address - (uintptr_t)server->start) / psize();
	struct uffdio_range where = { (uintptr_t)server->start + i * psize(), psize() };

	/* The writer reads this as soon as it continues. */
	__atomic_fetch_add(&server->served[i], 1, __ATOMIC_SEQ_CST);
	if (answer(server, i, &where))
		ioctl(server->fd, UFFDIO_WAKE, &where);
}

static void *serve(void *arg)
{
	struct server *server = arg;
	struct pollfd wait = { .fd = server->fd, .events = POLLIN };
	struct uffd_msg msg;

	while (!__atomic_load_n(&server->over, __ATOMIC_SEQ_CST))
		if (poll(&wait, 1, SERVER_NAP_MS) > 0 &&
		    read(server->fd, &msg, sizeof(msg)) == sizeof(msg) &&
		    msg.event == UFFD_EVENT_PAGEFAULT)
			serve_one(server, msg.arg.pagefault.address);
	return NULL;
}

/* Begin to serve faults of these pages. Returns whether that succeeded. */
static bool start_server(struct server *server, char *start, size_t pages, uint64_t features,
			 uint64_t mode)
{
	struct uffdio_register args = {
		.range = { (uintptr_t)start, pages * psize() }, .mode = mode,
	};

	server->start = start;
	server->mode = mode;
	server->fd = open_userfaultfd(features);
	if (server->fd < 0)
		return false;
	if (!ioctl(server->fd, UFFDIO_REGISTER, &args) &&
	    !pthread_create(&server->thread, NULL, serve, server))
		return true;
	close(server->fd);
	return false;
}

/* Closing the descriptor ends the registration, too. */
static void end_server(struct server *server, enum torture_count what)
{
	size_t i;

	__atomic_store_n(&server->over, 1, __ATOMIC_SEQ_CST);
	pthread_join(server->thread, NULL);
	close(server->fd);
	for (i = 0; i < MOST_SERVED; i++)
		__atomic_fetch_add(&torture->counts[what], server->served[i], __ATOMIC_RELAXED);
}

static struct range served_range(struct area *area)
{
	struct range range = any_range(area);

	if (range.pages > MOST_SERVED)
		range.pages = MOST_SERVED;
	return range;
}

/* Now and then, pages that are there are swapped out or merged meanwhile. */
static void rest_of(const struct range *range)
{
	if (chance(&dice, 10))
		madvise(range->start, range->pages * psize(), MADV_PAGEOUT);
	if (chance(&dice, 20))
		usleep(roll(&dice, 20000));
}

void op_serve_missing(struct area *area)
{
	struct range range = served_range(area);
	struct server server = { };
	size_t i;

	for (i = 0; i < range.pages; i++)
		server.seeds[i] = any_seed();
	if (!drop(area, &range) ||
	    !start_server(&server, range.start, range.pages, 0, UFFDIO_REGISTER_MODE_MISSING))
		return;
	for (i = 0; i < range.pages; i++)
		area->content[range.from + i].seed = server.seeds[i];
	for (i = 0; i < range.pages; i++) {
		if (chance(&dice, 30))
			set_word(area, range.from + roll(&dice, range.pages));
		check_page(area, range.from + roll(&dice, range.pages));
		rest_of(&range);
	}
	/* After the registration, pages that were not read yet would be zeros. */
	for (i = 0; i < range.pages; i++)
		check_page(area, range.from + i);
	end_server(&server, COUNT_MISSING);
}

/* A write without a message would be missing in the copy that a monitor keeps. */
static void write_protected(struct server *server, struct area *area, size_t first, size_t i)
{
	set_word(area, first + i);
	if (!__atomic_load_n(&server->served[i], __ATOMIC_SEQ_CST))
		torture_fail("worker %u: a write to a protected page gave no message", worker);
	check_page(area, first + i);
}

void op_serve_protected(struct area *area)
{
	struct range range = served_range(area);
	struct uffdio_writeprotect protect = {
		.range = { (uintptr_t)range.start, range.pages * psize() },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	struct server server = { };
	size_t i;

	for (i = range.from; i < range.from + range.pages; i++)
		fill_page(area, i, area->content[i].seed);
	if (!start_server(&server, range.start, range.pages, UFFD_FEATURE_PAGEFAULT_FLAG_WP,
			  UFFDIO_REGISTER_MODE_WP))
		return;
	if (!ioctl(server.fd, UFFDIO_WRITEPROTECT, &protect))
		for (i = 0; i < range.pages; i++) {
			rest_of(&range);
			write_protected(&server, area, range.from, roll(&dice, range.pages));
		}
	end_server(&server, COUNT_PROTECTED);
}

/* Pages of a file in the page cache that this mapping does not map yet. */

struct minor {
	char *file;
	char *mapped;
	bool shared;
	uint64_t in_file[MINOR_PAGES];
	uint64_t in_mapping[MINOR_PAGES];
};

static void check_minor(const struct minor *minor, size_t i)
{
	if (!ksm_holds(minor->mapped + i * psize(), minor->in_mapping[i]))
		torture_fail("worker %u: page %zu of a mapped file is wrong", worker, i);
	if (!ksm_holds(minor->file + i * psize(), minor->in_file[i]))
		torture_fail("worker %u: page %zu of a file is wrong", worker, i);
}

static void write_minor(struct minor *minor, size_t i)
{
	minor->in_mapping[i] = 1 + roll(&dice, 4);
	if (minor->shared)
		minor->in_file[i] = minor->in_mapping[i];
	ksm_fill(minor->mapped + i * psize(), minor->in_mapping[i]);
}

static void use_minor(struct minor *minor)
{
	struct range range = { minor->mapped, 0, MINOR_PAGES };
	struct server server = { };
	size_t i;

	for (i = 0; i < MINOR_PAGES; i++) {
		minor->in_file[i] = 1 + roll(&dice, 4);
		minor->in_mapping[i] = minor->in_file[i];
		ksm_fill(minor->file + i * psize(), minor->in_file[i]);
	}
	madvise(minor->mapped, MINOR_PAGES * psize(), MADV_MERGEABLE);
	if (!start_server(&server, minor->mapped, MINOR_PAGES, UFFD_FEATURE_MINOR_SHMEM,
			  UFFDIO_REGISTER_MODE_MINOR))
		return;
	for (i = 0; i < 2 * MINOR_PAGES; i++) {
		if (chance(&dice, 60))
			write_minor(minor, roll(&dice, MINOR_PAGES));
		check_minor(minor, roll(&dice, MINOR_PAGES));
		rest_of(&range);
	}
	for (i = 0; i < MINOR_PAGES; i++)
		check_minor(minor, i);
	end_server(&server, COUNT_MINOR);
}

void op_serve_minor(struct area *area)
{
	struct minor minor = { .shared = chance(&dice, 30) };
	size_t size = MINOR_PAGES * psize();
	int fd = syscall(SYS_memfd_create, "torture", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, size)) {
		close(fd);
		return;
	}
	minor.file = mmap(NULL, size, PROT_RW, MAP_SHARED, fd, 0);
	minor.mapped = mmap(NULL, size, PROT_RW, minor.shared ? MAP_SHARED : MAP_PRIVATE, fd, 0);
	if (minor.file != MAP_FAILED && minor.mapped != MAP_FAILED)
		use_minor(&minor);
	if (minor.file != MAP_FAILED)
		munmap(minor.file, size);
	if (minor.mapped != MAP_FAILED)
		munmap(minor.mapped, size);
	close(fd);
}
