// SPDX-License-Identifier: GPL-2.0
/* Reads System.map, which is sorted by address. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system-map.h"

static bool append(struct system_map *map, uint64_t start, const char *name)
{
	struct symbol *symbol;

	if (map->nr % 4096 == 0) {
		symbol = realloc(map->symbol, (map->nr + 4096) * sizeof(*symbol));
		if (!symbol)
			return false;
		map->symbol = symbol;
	}
	symbol = &map->symbol[map->nr++];
	symbol->start = start;
	symbol->end = UINT64_MAX;
	snprintf(symbol->name, sizeof(symbol->name), "%.*s", (int)strcspn(name, "."), name);
	return true;
}

bool system_map_read(struct system_map *map, const char *path)
{
	FILE *file = fopen(path, "r");
	char line[512], name[400], type;
	unsigned long long start;

	*map = (struct system_map){ };
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%llx %c %399s", &start, &type, name) != 3)
			continue;
		if (!strchr("tTwW", type) || !append(map, start, name))
			continue;
		if (map->nr > 1)
			map->symbol[map->nr - 2].end = start;
	}
	if (!map->nr) {
		perror(path);
		return false;
	}
	fclose(file);
	return true;
}

const struct symbol *system_map_find(const struct system_map *map, const char *name)
{
	size_t i;

	for (i = 0; i < map->nr; i++)
		if (!strcmp(map->symbol[i].name, name))
			return &map->symbol[i];
	return NULL;
}
