/* SPDX-License-Identifier: GPL-2.0 */
/* Allocators that fail on demand and count what they gave away. */
#ifndef _KSM_TEST_LINUX_SLAB_H
#define _KSM_TEST_LINUX_SLAB_H

#include <linux/types.h>
#include <linux/overflow.h>

#define GFP_KERNEL		0U
#define __GFP_HIGH		0U
#define __GFP_NORETRY		0U
#define __GFP_RETRY_MAYFAIL	0U
#define __GFP_NOWARN		0U
#define __GFP_ACCOUNT		0U
#define GFP_NOWAIT		0U

#define SLAB_ACCOUNT		1U

#define struct_size_t(type, member, count)	struct_size((type *)NULL, member, count)

struct kmem_cache;

struct kmem_cache *kmem_cache_create(const char *name, unsigned int size,
				     unsigned int align, unsigned int flags,
				     void (*ctor)(void *object));
void kmem_cache_destroy(struct kmem_cache *cache);
void *kmem_cache_zalloc(struct kmem_cache *cache, gfp_t gfp);

static inline void *kmem_cache_alloc(struct kmem_cache *cache, gfp_t gfp)
{
	return kmem_cache_zalloc(cache, gfp);
}

void kmem_cache_free(struct kmem_cache *cache, void *object);
void kmem_cache_free_bulk(struct kmem_cache *cache, size_t nr, void **objects);
void *kcalloc(size_t nr, size_t size, gfp_t gfp);
void kfree(const void *object);
size_t ksize(const void *object);

#define KMEM_CACHE(type, flags)						\
	kmem_cache_create(#type, sizeof(struct type), 0, flags, NULL)

#endif /* _KSM_TEST_LINUX_SLAB_H */
