/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Allocations that fail when they are told to, by CONFIG_FAULT_INJECTION: the
 * n-th of a system call, or of ksmd; or many, at intervals and by chance.
 *
 * A case begins with inject_nothing(). What it leaves behind goes with the next
 * one, and in the end all settings are what they were.
 */
#ifndef KSM_INJECT_H
#define KSM_INJECT_H

#include "ksm_common.h"

/* Pages of the witness, which hold what this seed makes. */
#define INJECT_PAGES	12
#define INJECT_SEED	0x130000

/* How an attempt ended; also as an exit status. */
enum outcome {
	UNTOUCHED = 64,	/* it does not allocate that often */
	WENT_ON,	/* an allocation failed, and no error was returned */
	REFUSED,	/* an allocation failed, and the caller was told */
	KILLED,		/* an exec was too far gone to be refused */
	OUTCOMES,
};

/* Does something of which allocation @nth fails. */
typedef enum outcome attempt_fn(unsigned int nth);

/* What inject_each() has seen so far. */
extern unsigned int outcomes[OUTCOMES];

int inject_run_cases(const struct ksm_case *cases, unsigned int count);
void inject_nothing(void);

/* One that fails, of the caller. */
void inject(unsigned int nth);
bool injected(void);
enum outcome inject_judge(const char *what, int error, int want);
/* Of ksmd. */
void inject_ksmd(unsigned int nth);
enum outcome inject_judge_ksmd(void);
/* The first, then the second, until there is none left. */
void inject_each(attempt_fn *attempt);
pid_t inject_child_start(attempt_fn *attempt, unsigned int nth);
enum outcome inject_child_end(pid_t pid, bool may_be_killed);
enum outcome inject_child(attempt_fn *attempt, unsigned int nth, bool may_be_killed);

/* Another process with pages like ours: it checks them after each attempt. */
void inject_call_witness(void);
void inject_dismiss_witness(void);

/* inject() then counts the objects of these caches, and no other allocations. */
void inject_only(const char *pattern);

/* Many that fail, of the caches that match the pattern of fnmatch(). */
void inject_caches(const char *pattern, long interval, long percent);
void inject_own(const char *cache);
/* All pages that the caller allocates, after @allowed allocations. */
int inject_own_pages(unsigned int allowed);
void inject_own_pages_end(int fd);
void inject_ksmd_all(const char *kind);
long inject_count(const char *kind);

#endif /* KSM_INJECT_H */
