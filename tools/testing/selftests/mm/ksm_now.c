// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/PID/ksm_merge: one write merges what is marked in a process, whatever ksmd does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_common.h"

#define PAGES		40
#define SEED		0x50770000
/* To merge so many pages takes many ticks. */
#define LONG_AREA	8192
#define ATTEMPTS	20
#define WRITERS		2
#define ROUNDS		25
#define NOBODY		65534

static int open_merge(pid_t pid)
{
	char path[KSM_TEXT];

	snprintf(path, sizeof(path), "/proc/%d/ksm_merge", pid ? pid : getpid());
	return open(path, O_WRONLY);
}

/* Returns 0, or an errno. */
static int write_merge(pid_t pid, const char *text)
{
	const ssize_t len = strlen(text);
	int fd = open_merge(pid), err = 0;
	ssize_t written;

	if (fd < 0)
		return errno;
	written = write(fd, text, len);
	if (written < 0)
		err = errno;
	else
		ksm_expect("bytes written", written, len);
	close(fd);
	return err;
}

static int merge_now(pid_t pid)
{
	return write_merge(pid, "1\n");
}

/* Before a case, run is 2. */
static char *stopped_area(size_t pages)
{
	ksm_set("run", 0);
	return ksm_map_mergeable(pages);
}

static void equal_pages(void)
{
	char *area = stopped_area(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	ksm_expect("error of the write", merge_now(0), 0);
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_check_same(area, PAGES, SEED);
}

static void unique_pages(void)
{
	char *area = stopped_area(PAGES);

	ksm_fill_unique(area, PAGES, SEED);
	ksm_expect("error of the write", merge_now(0), 0);
	ksm_expect_figures(0, 0, PAGES);
	ksm_expect("error of the second write", merge_now(0), 0);
	ksm_expect_figures(0, 0, PAGES);
	ksm_check_unique(area, PAGES, SEED);
}

/* A page that has just changed is not waited for, either. */
static void changed_pages(void)
{
	char *area = stopped_area(2 * PAGES);

	ksm_fill_unique(area, 2 * PAGES, SEED);
	ksm_expect("error of the write", merge_now(0), 0);
	ksm_fill_unique(area + PAGES * psize(), PAGES, SEED);
	ksm_expect("error of the second write", merge_now(0), 0);
	ksm_expect_figures(PAGES, PAGES, 0);
	ksm_check_unique(area, PAGES, SEED);
	ksm_check_unique(area + PAGES * psize(), PAGES, SEED);
}

static void merged_pages_change(void)
{
	char *area = stopped_area(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	ksm_expect("error of the write", merge_now(0), 0);
	ksm_fill_same(area, PAGES, SEED + 1);
	ksm_expect("error of the second write", merge_now(0), 0);
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_check_same(area, PAGES, SEED + 1);
}

static void zeroed_pages(void)
{
	char *area = stopped_area(PAGES);

	ksm_set("use_zero_pages", 1);
	ksm_fill_same(area, PAGES, 0);
	ksm_expect("error of the write", merge_now(0), 0);
	ksm_expect("zero pages", ksm_get("ksm_zero_pages"), PAGES);
	ksm_check_same(area, PAGES, 0);
}

static void nothing_marked(void)
{
	char *area = ksm_map(PAGES);

	ksm_set("run", 0);
	ksm_fill_same(area, PAGES, SEED);
	ksm_expect("error of the write", merge_now(0), 0);
	ksm_expect_figures(0, 0, 0);
}

static void marked_child(struct ksm_child *self, void *seed)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_unique(area, PAGES, (unsigned long)seed);
	ksm_child_pause(self);
	ksm_check_unique(area, PAGES, (unsigned long)seed);
	ksm_child_pause(self);
}

static void two_processes(void)
{
	struct ksm_child child[2];
	unsigned int i;

	ksm_set("run", 0);
	for (i = 0; i < ARRAY_SIZE(child); i++) {
		ksm_child_start(&child[i], marked_child, (void *)SEED);
		ksm_child_wait(&child[i]);
	}
	for (i = 0; i < ARRAY_SIZE(child); i++)
		ksm_expect("error of the write", merge_now(child[i].pid), 0);
	ksm_expect_figures(PAGES, PAGES, 0);
	for (i = 0; i < ARRAY_SIZE(child); i++) {
		ksm_expect("merged pages", ksm_stat(child[i].pid, "ksm_merging_pages"), PAGES);
		ksm_child_step(&child[i]);
		ksm_child_end(&child[i]);
	}
}

static void inheriting_child(struct ksm_child *self, void *area)
{
	ksm_child_pause(self);
	ksm_check_unique(area, PAGES, SEED);
}

/* The only page with the same content is the page itself: that is no reason to retry. */
static void after_a_fork(void)
{
	char *area = stopped_area(PAGES);
	struct ksm_child child;

	ksm_fill_unique(area, PAGES, SEED);
	ksm_child_start(&child, inheriting_child, area);
	ksm_child_wait(&child);
	ksm_expect("error of the write", merge_now(0), 0);
	ksm_expect("error of the write for the child", merge_now(child.pid), 0);
	ksm_child_end(&child);
	ksm_check_unique(area, PAGES, SEED);
}

static void other_values(void)
{
	static const char *const text[] = { "0", "2", "-1", "11", "x", "1 1" };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(text); i++)
		ksm_expect(text[i], write_merge(0, text[i]), EINVAL);
}

static void while_unmerged(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	ksm_set("run", 2);
	ksm_expect("error while run is 2", merge_now(0), EBUSY);
	ksm_expect_nothing();
	ksm_set("run", 0);
	ksm_expect("error while run is 0", merge_now(0), 0);
	ksm_expect_figures(1, PAGES - 1, 0);
}

/* Data in a pipe that vmsplice() has put there keeps a reference to each page. */
static void pinned_page(void)
{
	char *area = stopped_area(PAGES);
	struct iovec pinned = { .iov_base = area, .iov_len = psize() };
	int ends[2];

	ksm_fill_same(area, PAGES, SEED);
	ksm_check(!pipe(ends), "pipe");
	ksm_expect("vmsplice", vmsplice(ends[1], &pinned, 1, 0), psize());
	ksm_expect("error of the write", merge_now(0), EAGAIN);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES - 1);
	close(ends[0]);
	close(ends[1]);
	ksm_expect("error of the second write", merge_now(0), 0);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_check_same(area, PAGES, SEED);
}

static int become_nobody(unsigned int capability)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { };

	data[0].permitted = capability;
	data[0].effective = capability;
	if (prctl(PR_SET_KEEPCAPS, 1) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		return -1;
	return syscall(SYS_capset, &header, data);
}

static int try_as_nobody(pid_t pid, unsigned int capability)
{
	int status;
	pid_t child = fork();

	if (!child)
		_exit(become_nobody(capability) ? 255 : merge_now(pid));
	ksm_check(waitpid(child, &status, 0) == child && WIFEXITED(status), "waitpid");
	return WEXITSTATUS(status);
}

static void permissions(void)
{
	char *area = stopped_area(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	ksm_expect("error of another user", try_as_nobody(getpid(), 0), EACCES);
	ksm_expect_figures(0, 0, 0);
	ksm_expect("error with CAP_SYS_NICE",
		   try_as_nobody(getpid(), 1U << CAP_SYS_NICE), 0);
	ksm_expect_figures(1, PAGES - 1, 0);
}

static void on_alarm(int unused)
{
	(void)unused;
}

static void signal_arrives(void)
{
	struct itimerval timer = { .it_value.tv_usec = 4000 };
	struct sigaction action = { .sa_handler = on_alarm };
	char *area = stopped_area(LONG_AREA);
	unsigned int i;
	int err = 0;

	sigaction(SIGALRM, &action, NULL);
	for (i = 0; i < ATTEMPTS && err != EINTR; i++) {
		ksm_fill_unique(area, LONG_AREA, SEED + i * LONG_AREA);
		setitimer(ITIMER_REAL, &timer, NULL);
		err = merge_now(0);
	}
	ksm_expect("error of the interrupted write", err, EINTR);
	ksm_expect("error of the next write", merge_now(0), 0);
	ksm_expect_figures(0, 0, LONG_AREA);
}

static void exiting_child(struct ksm_child *self, void *unused)
{
	char *area = ksm_map_mergeable(LONG_AREA);

	(void)unused;
	ksm_fill_unique(area, LONG_AREA, SEED);
	ksm_child_pause(self);
	_exit(0);
}

static void exit_meanwhile(void)
{
	struct ksm_child child;
	int err;

	ksm_set("run", 0);
	ksm_child_start(&child, exiting_child, NULL);
	ksm_child_wait(&child);
	ksm_child_go(&child);
	err = merge_now(child.pid);
	if (err && err != ESRCH && err != ENOENT)
		ksm_fail("the write fails with %s", strerror(err));
	waitpid(child.pid, NULL, 0);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static bool stop;

static void *write_again_and_again(void *pid)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		int err = merge_now((long)pid);

		if (err && err != EAGAIN && err != EBUSY)
			ksm_fail("the write fails with %s", strerror(err));
	}
	return NULL;
}

/* Each round unmaps the records of half of the pages, and changes the others. */
static void change(char *area, uint64_t seed)
{
	madvise(area, PAGES * psize(), MADV_DONTNEED);
	ksm_fill_unique(area, 2 * PAGES, seed);
	ksm_check_unique(area, 2 * PAGES, seed);
}

static void start_writers(pthread_t *writer)
{
	unsigned int i;

	for (i = 0; i < WRITERS; i++)
		ksm_check(!pthread_create(&writer[i], NULL, write_again_and_again, NULL),
			  "pthread_create");
}

static void end_writers(pthread_t *writer)
{
	unsigned int i;

	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < WRITERS; i++)
		pthread_join(writer[i], NULL);
}

static void writers_and_ksmd(void)
{
	char *area = ksm_map_mergeable(2 * PAGES);
	pthread_t writer[WRITERS];
	unsigned int i;

	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	start_writers(writer);
	for (i = 0; i < ROUNDS; i++)
		change(area, SEED + i % 3);
	end_writers(writer);
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_check_unique(area, 2 * PAGES, SEED + (i - 1) % 3);
}

static void writers_and_unmerges(void)
{
	char *area = ksm_map_mergeable(2 * PAGES);
	pthread_t writer[WRITERS];
	unsigned int i;

	start_writers(writer);
	for (i = 0; i < ROUNDS; i++) {
		change(area, SEED + i % 3);
		ksm_set("run", 2);
		ksm_expect("pages_shared", ksm_get("pages_shared"), 0);
		ksm_set("run", i % 2);
	}
	end_writers(writer);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/* A pass has to end although an mm is claimed most of the time. */
static void passes_go_on(void)
{
	char *area = ksm_map_mergeable(PAGES);
	pthread_t writer[WRITERS];

	ksm_fill_same(area, PAGES, SEED);
	start_writers(writer);
	ksm_passes(5);
	end_writers(writer);
	ksm_check_same(area, PAGES, SEED);
}

static const struct ksm_case cases[] = {
	{ "one write merges equal pages", equal_pages },
	{ "one write finds that pages are unique", unique_pages },
	{ "pages that have changed are merged at once", changed_pages },
	{ "pages that have changed after a merge are merged at once", merged_pages_change },
	{ "zeroed pages are merged at once", zeroed_pages },
	{ "a process without marked memory", nothing_marked },
	{ "pages of two processes", two_processes },
	{ "pages that two processes map after a fork", after_a_fork },
	{ "values other than 1 are errors", other_values },
	{ "while run is 2, EBUSY", while_unmerged },
	{ "a pinned page gives EAGAIN", pinned_page },
	{ "other users need CAP_SYS_NICE", permissions },
	{ "a signal gives EINTR", signal_arrives },
	{ "the process exits meanwhile", exit_meanwhile },
	{ "two writers and ksmd at once", writers_and_ksmd },
	{ "two writers and unmerges at once", writers_and_unmerges },
	{ "passes end while there are writers", passes_go_on },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
