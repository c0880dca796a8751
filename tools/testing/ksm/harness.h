/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a test says what it expects.  The first thing that is not as expected
 * ends the test; main.c calls it.
 */
#ifndef _KSM_TEST_HARNESS_H
#define _KSM_TEST_HARNESS_H

#include "shim.h"

/**
 * struct test - one behaviour
 * @name: what is printed
 * @run: tries it out, in a fresh world
 */
struct test {
	const char *name;
	void (*run)(void);
};

extern const struct test fingerprint_tests[];
extern const struct test array_tests[];
extern const struct test filter_tests[];
extern const struct test unstable_tests[];
extern const struct test record_tests[];
extern const struct test bytes_tests[];
extern const struct test cursor_tests[];
extern const struct test stable_tests[];
extern const struct test stable_random_tests[];
extern const struct test advisor_tests[];
extern const struct test visit_tests[];
extern const struct test priority_tests[];

/* How often a random operation is to be tried out. */
unsigned long rounds(unsigned long usual);

__printf(1, 2) void note(const char *format, ...);
__printf(3, 4) void __noreturn fail(const char *file, int line, const char *format, ...);

#define CHECK(condition) do {						\
	if (!(condition))						\
		fail(__FILE__, __LINE__, "%s", #condition);		\
} while (0)

/* The left side is what is, the right side what should be. */
#define CHECK_OP(a, op, b) do {						\
	unsigned long long __a = (a), __b = (b);			\
									\
	if (!(__a op __b))						\
		fail(__FILE__, __LINE__, "%s %s %s: %llu (%#llx), %llu (%#llx)", \
		     #a, #op, #b, __a, __a, __b, __b);			\
} while (0)

#define CHECK_EQ(a, b)	CHECK_OP(a, ==, b)
#define CHECK_NE(a, b)	CHECK_OP(a, !=, b)
#define CHECK_LE(a, b)	CHECK_OP(a, <=, b)
#define CHECK_GE(a, b)	CHECK_OP(a, >=, b)

#endif /* _KSM_TEST_HARNESS_H */
