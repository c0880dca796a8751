// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of a process of ksm_torture: its areas, and what each word has to hold.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_common.h"
#include "ksm_torture.h"

#define AREAS		10
/* Contents of all workers, so that they share pages. */
#define COMMON_SEEDS	20

static struct area areas[AREAS];
struct dice dice;
static uint64_t identity, next_unique;
unsigned int worker;
const char *doing = "start";

void content_of(uint64_t *page, const struct content *content)
{
	ksm_fill((char *)page, content->seed);
	if (content->at != NO_WORD)
		page[content->at] = content->word;
}

/* @found is page @i of the area, as it was read. */
void check_read(const struct area *area, size_t i, const uint64_t *found)
{
	static uint64_t want[8192];
	const struct content *content = &area->content[i];
	size_t word;

	content_of(want, content);
	if (!memcmp(found, want, psize()) || (content->freed && ksm_holds((char *)found, 0)))
		return;
	for (word = 0; found[word] == want[word] && word < psize() / 8 - 1; word++)
		;
	torture_fail("worker %u, %s: page %zu of %zu, word %zu is %llx and not %llx (seed %llx)",
		     worker, doing, i, area->pages, word, (unsigned long long)found[word],
		     (unsigned long long)want[word], (unsigned long long)content->seed);
}

void check_page(const struct area *area, size_t i)
{
	check_read(area, i, (uint64_t *)(area->addr + i * psize()));
}

void check_area(const struct area *area)
{
	size_t i;

	for (i = 0; i < area->pages; i++)
		check_page(area, i);
}

void check_all(void)
{
	unsigned int i;

	for (i = 0; i < AREAS; i++)
		if (areas[i].addr)
			check_area(&areas[i]);
}

/* The contents of a process do not depend on PIDs. */
void begin_life(uint64_t seed, uint64_t stream)
{
	dice_init(&dice, seed, stream);
	identity = (roll(&dice, UINT64_MAX) | 1) << 24;
	next_unique = 0;
}

/* Try again if memory is short, or an allocation was made to fail. */
int try_hard(int (*attempt)(void *arg), void *arg)
{
	unsigned int i;
	int err = -1;

	for (i = 0; err && i < 1000; i++) {
		err = attempt(arg);
		if (err && errno != ENOMEM && errno != EAGAIN && errno != EINTR)
			break;
	}
	return err;
}

struct entry {
	const char *path;
	uint64_t index;
	uint64_t value;
};

static int read_entry(void *arg)
{
	struct entry *entry = arg;
	int fd = open(entry->path, O_RDONLY | O_CLOEXEC);
	ssize_t size;

	if (fd < 0)
		return -1;
	size = pread(fd, &entry->value, sizeof(entry->value),
		     entry->index * sizeof(entry->value));
	close(fd);
	return size == sizeof(entry->value) ? 0 : -1;
}

static uint64_t entry_of(const char *path, uint64_t index)
{
	struct entry entry = { path, index };

	if (try_hard(read_entry, &entry))
		torture_fail("worker %u: %s: %s", worker, path, strerror(errno));
	return entry.value;
}

uint64_t pagemap_of(const void *addr)
{
	return entry_of("/proc/self/pagemap", (uintptr_t)addr / psize());
}

/* 0 if no page is mapped. */
unsigned long pfn_of(const void *addr)
{
	uint64_t entry = pagemap_of(addr);

	return PAGEMAP_PRESENT(entry) ? PAGEMAP_PFN(entry) : 0;
}

/* On some kernels other pages have KPF_KSM as well. There it is not used. */
bool has_flag(const void *addr, uint64_t flag)
{
	unsigned long pfn = pfn_of(addr);

	if (flag == KPF_KSM_BIT && !torture->flag_trusted)
		return false;
	return pfn && entry_of("/proc/kpageflags", pfn) & flag;
}

uint64_t any_identity(void)
{
	return identity + ++next_unique;
}

uint64_t any_seed(void)
{
	if (chance(&dice, 20))
		return 0;
	if (chance(&dice, 75))
		return 1 + roll(&dice, COMMON_SEEDS);
	return any_identity();
}

void fill_page(struct area *area, size_t i, uint64_t seed)
{
	struct content *content = &area->content[i];

	*content = (struct content){ .seed = seed, .at = NO_WORD };
	ksm_fill(area->addr + i * psize(), seed);
}

/* Choose a word that the caller has to write to the page. */
const struct content *choose_word(struct area *area, size_t i)
{
	struct content *content = &area->content[i];

	if (content->freed || content->at != NO_WORD)
		fill_page(area, i, content->seed);
	content->at = chance(&dice, 50) ? psize() / 8 - 1 : roll(&dice, psize() / 8);
	content->word = 1 + roll(&dice, 3);
	return content;
}

void set_word(struct area *area, size_t i)
{
	const struct content *content = choose_word(area, i);

	((uint64_t *)(area->addr + i * psize()))[content->at] = content->word;
}

/* A random area, mapped or not. */
struct area *any_place(void)
{
	return &areas[roll(&dice, AREAS)];
}

/* A random area that is mapped, or NULL. */
struct area *any_area(void)
{
	unsigned int i, first = roll(&dice, AREAS);

	for (i = 0; i < AREAS; i++)
		if (areas[(first + i) % AREAS].addr)
			return &areas[(first + i) % AREAS];
	return NULL;
}

struct range any_range(struct area *area)
{
	size_t from = roll(&dice, area->pages), pages = 1 + roll(&dice, area->pages - from);

	return (struct range){ area->addr + from * psize(), from, pages };
}
