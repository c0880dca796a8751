// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of a device, as drivers of graphics cards have it. The driver of CONFIG_TEST_HMM
 * emulates the device. ksmd cannot read pages that are in the device or that the device
 * has exclusive access to. Shared pages cannot move to the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../../../lib/test_hmm_uapi.h"
#include "ksm_common.h"

#define DEVICE	"/dev/hmm_dmirror0"
#define PAGES	40
#define SEED	0x7000

/* The device sees the memory of the process that opened it. */
static int device(void)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		ksm_skip("there is no %s; it needs CONFIG_TEST_HMM", DEVICE);
	return fd;
}

/*
 * Returns 0 or the error. The buffer of the device stays mapped, because unmapping it
 * would also take the page behind it from the device.
 */
static int command(int fd, unsigned long request, char *area, size_t pages)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)area,
		.ptr = (uintptr_t)ksm_map(pages),
		.npages = pages,
	};

	return ioctl(fd, request, &cmd) ? errno : 0;
}

/* How many of the pages lie in the device. */
static size_t in_device(int fd, char *area, size_t pages)
{
	unsigned char *kinds = calloc(pages, 1);
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)area,
		.ptr = (uintptr_t)kinds,
		.npages = pages,
	};
	size_t i, count = 0;

	if (ioctl(fd, HMM_DMIRROR_SNAPSHOT, &cmd))
		ksm_fail("HMM_DMIRROR_SNAPSHOT: %s", strerror(errno));
	for (i = 0; i < pages; i++)
		count += (kinds[i] & 0xf0) == HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL;
	free(kinds);
	return count;
}

/* How many of the pages the device has to itself. */
static size_t exclusive(int fd, char *area, size_t pages)
{
	size_t i, count = 0;

	for (i = 0; i < pages; i++)
		count += command(fd, HMM_DMIRROR_CHECK_EXCLUSIVE, area + i * psize(), 1) == EPERM;
	return count;
}

static void shared_stay(void)
{
	int fd = device();
	char *area = ksm_merged_area(PAGES, SEED), *more;

	command(fd, HMM_DMIRROR_MIGRATE_TO_DEV, area, PAGES);
	ksm_expect("pages in the device", in_device(fd, area, PAGES), 0);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);

	/* These are compared with what is shared. */
	more = ksm_map_mergeable(PAGES);
	ksm_fill_same(more, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
	ksm_check_same(more, PAGES, SEED);
}

static void moved_are_left_alone(void)
{
	int fd = device();
	char *area = ksm_map(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	ksm_expect("the error of moving", command(fd, HMM_DMIRROR_MIGRATE_TO_DEV, area, PAGES), 0);
	ksm_mergeable(area, PAGES);
	ksm_settle();
	ksm_expect("pages in the device", in_device(fd, area, PAGES), PAGES);
	ksm_expect_nothing();

	/* Reading the pages brings them back, and they merge. */
	ksm_check_same(area, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
}

static void unshared_may_go(void)
{
	int fd = device();
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_unique(area, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(0, 0, PAGES);
	ksm_expect("the error of moving", command(fd, HMM_DMIRROR_MIGRATE_TO_DEV, area, PAGES), 0);
	ksm_passes(3);
	ksm_expect("pages in the device", in_device(fd, area, PAGES), PAGES);
	ksm_expect_figures(0, 0, 0);
	ksm_check_unique(area, PAGES, SEED);
}

static void exclusive_are_left_alone(void)
{
	int fd = device();
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	ksm_expect("the error of taking them", command(fd, HMM_DMIRROR_EXCLUSIVE, area, PAGES), 0);
	ksm_settle();
	ksm_unmergeable(area, PAGES);
	ksm_expect("pages that the device has", exclusive(fd, area, PAGES), PAGES);
	ksm_expect_nothing();
	ksm_check_same(area, PAGES, SEED);
}

static void taken_from_shared(void)
{
	int fd = device();
	char *area = ksm_merged_area(PAGES, SEED);

	ksm_expect("the error of taking them", command(fd, HMM_DMIRROR_EXCLUSIVE, area, PAGES), 0);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), 0);
	ksm_passes(3);
	ksm_expect_nothing();
	ksm_check_same(area, PAGES, SEED);
}

static void zeros_are_given_back(void)
{
	int fd = device();
	char *area = ksm_map_mergeable(PAGES);

	ksm_set("use_zero_pages", 1);
	ksm_fill_same(area, PAGES, 0);
	ksm_settle();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), PAGES);
	ksm_expect("the error of moving", command(fd, HMM_DMIRROR_MIGRATE_TO_DEV, area, PAGES), 0);
	ksm_expect("pages in the device", in_device(fd, area, PAGES), PAGES);
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 0);
	ksm_expect("ksm_zero_pages of the process", ksm_stat(0, "ksm_zero_pages"), 0);
	ksm_check_same(area, PAGES, 0);
}

static const struct ksm_case cases[] = {
	{ "pages that are shared do not go to a device", shared_stay },
	{ "pages in a device are left alone", moved_are_left_alone },
	{ "pages that are not shared may go to a device", unshared_may_go },
	{ "pages that a device has to itself are left alone", exclusive_are_left_alone },
	{ "a device that takes pages for itself gets copies", taken_from_shared },
	{ "zero pages that go to a device are given back", zeros_are_given_back },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
