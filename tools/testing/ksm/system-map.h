/* SPDX-License-Identifier: GPL-2.0 */
/* Where a kernel that was not relocated has its functions. */
#ifndef _KSM_SYSTEM_MAP_H
#define _KSM_SYSTEM_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct symbol {
	uint64_t start;
	uint64_t end;		/* where the next symbol starts */
	char name[64];		/* without a suffix of the compiler like .isra.0 */
};

struct system_map {
	struct symbol *symbol;
	size_t nr;
};

/* Reads the functions of System.map @path.  Returns false after a message. */
bool system_map_read(struct system_map *map, const char *path);

/* Returns NULL if there is no such function. */
const struct symbol *system_map_find(const struct system_map *map, const char *name);

#endif /* _KSM_SYSTEM_MAP_H */
