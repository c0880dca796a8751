// SPDX-License-Identifier: GPL-2.0
/*
 * How fast ksmd and the threads of a process are while all of them need its mmap_lock.
 * The machine has two CPUs, so these are times and not instructions.
 */

#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest-bench.h"

#define NR_THREADS	4
#define NR_PAGES	8192UL
#define GROUP		4UL
/* The result is the median of so many merges. */
#define NR_ROUNDS	9
#define MAPPED		(4 * PAGE)
#define WINDOW		4e9

/* What the threads work with: @pairs counts mmap() and munmap() as one. */
struct threads {
	pthread_t thread[NR_THREADS];
	unsigned long pairs;
	bool stop;
};

static void *map_and_unmap(void *arg)
{
	struct threads *threads = arg;

	while (!__atomic_load_n(&threads->stop, __ATOMIC_RELAXED)) {
		char *addr = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (addr == MAP_FAILED)
			die("mmap failed beside ksmd");
		*addr = 1;
		munmap(addr, MAPPED);
		__atomic_add_fetch(&threads->pairs, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void start_threads(struct threads *threads)
{
	unsigned int i;

	*threads = (struct threads){};
	for (i = 0; i < NR_THREADS; i++)
		if (pthread_create(&threads->thread[i], NULL, map_and_unmap, threads))
			die("cannot start a thread");
}

static void stop_threads(struct threads *threads)
{
	unsigned int i;

	__atomic_store_n(&threads->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(threads->thread[i], NULL);
}

/* How many pairs of calls the threads have made at some time, in nanoseconds. */
static unsigned long pairs_at(const struct threads *threads, double time)
{
	while (now() < time)
		usleep(1000);
	return __atomic_load_n(&threads->pairs, __ATOMIC_RELAXED);
}

/*
 * Milliseconds until all is merged, and how much longer a pair of calls takes in the
 * WINDOW that begins with the merge, as a factor.  The speed of the threads varies from
 * second to second, so it is measured before the window and after it.
 */
static void measure(double *merge, double *pair)
{
	char *area = map_groups(NR_PAGES, GROUP);
	unsigned long start, before, after, end;
	struct threads threads;
	double began, length;

	start_threads(&threads);
	began = now() + WINDOW / 2;
	start = pairs_at(&threads, 0);
	before = pairs_at(&threads, began);
	set_knob("run", 1);
	wait_for_sharing(NR_PAGES - NR_PAGES / GROUP);
	length = now() - began;
	*merge = length / 1e6;
	if (length < WINDOW)
		length = WINDOW;
	after = pairs_at(&threads, began + length);
	end = pairs_at(&threads, began + length + WINDOW / 2);
	*pair = (before - start + end - after) / WINDOW * length / (after - before);
	stop_threads(&threads);
	set_knob("run", 2);
	munmap(area, NR_PAGES * PAGE);
}

static double median(double *values)
{
	sort(values, NR_ROUNDS);
	return values[NR_ROUNDS / 2];
}

static void bench_threads_mmap(const char *name)
{
	double merge[NR_ROUNDS], pair[NR_ROUNDS];
	unsigned int i;

	(void)name;
	for (i = 0; i < NR_ROUNDS; i++)
		measure(&merge[i], &pair[i]);
	result("threads-mmap/merge", median(merge));
	result("threads-mmap/pair", median(pair));
}

const struct workload thread_workloads[] = {
	{ "threads-mmap", bench_threads_mmap },
	{ }
};
