/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's types, with u64 as the kernel has it: the checks of min() and
 * max() see to it that the operands are of one type.
 */
#ifndef _KSM_TEST_LINUX_TYPES_H
#define _KSM_TEST_LINUX_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define __SANE_USERSPACE_TYPES__
#include <asm/types.h>
#include <asm/posix_types.h>

typedef __u64 u64;
typedef __s64 s64;
typedef __u32 u32;
typedef __s32 s32;
typedef __u16 u16;
typedef __s16 s16;
typedef __u8 u8;
typedef __s8 s8;

#define u128		unsigned __int128
#define gfp_t		unsigned int
#define vm_fault_t	unsigned int
#define vm_flags_t	unsigned long
#define pgoff_t		unsigned long

struct shim_atomic {
	long counter;
};

#define atomic_t	struct shim_atomic
#define atomic_long_t	struct shim_atomic

struct list_head {
	struct list_head *next, *prev;
};

struct hlist_head {
	struct hlist_node *first;
};

struct hlist_node {
	struct hlist_node *next, **pprev;
};

#define __force
#define __user
#define __must_check
#define __cold
#define __bitwise
#define __init

#endif /* _KSM_TEST_LINUX_TYPES_H */
