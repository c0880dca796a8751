// SPDX-License-Identifier: GPL-2.0
/* How the program tells a QEMU plugin when to count. */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "guest-bench.h"

/* As in the plugins: a store to the first address begins the count. */
#define MARK_BEGIN	0x4b534d000000UL
#define MARK_END	(MARK_BEGIN + 8)

static void mark(unsigned long address)
{
	static void *page;

	if (!page)
		page = mmap((void *)MARK_BEGIN, PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (page != (void *)MARK_BEGIN)
		die("no page at %#lx: %s", MARK_BEGIN, strerror(errno));
	__atomic_store_n((uint64_t *)address, 1, __ATOMIC_RELAXED);
}

void mark_begin(void)
{
	mark(MARK_BEGIN);
}

void mark_end(void)
{
	mark(MARK_END);
}

/* The result @name is what the plugin counts, divided by @number. */
void per(const char *name, double number)
{
	printf("PER %s %.3f\n", name, number);
}
