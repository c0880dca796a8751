/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Makes allocations fail, with CONFIG_FAULT_INJECTION: allocation number n of a system
 * call or of ksmd; or many of them, at intervals or at random.
 *
 * A case begins with inject_nothing(), which ends what the case before has left. After the
 * last case, all settings have their old values.
 */
#ifndef KSM_INJECT_H
#define KSM_INJECT_H

#include "ksm_common.h"

/* Pages of the witness, and the seed of their content. */
#define INJECT_PAGES	12
#define INJECT_SEED	0x130000

/* How an attempt ended. Also an exit status. */
enum outcome {
	UNTOUCHED = 64,	/* no allocation failed: there were fewer of them */
	WENT_ON,	/* an allocation failed, and no error was returned */
	REFUSED,	/* an allocation failed, and the caller was told */
	KILLED,		/* an exec could no longer return an error */
	OUTCOMES,
};

/* Makes allocation @nth of an operation fail. */
typedef enum outcome attempt_fn(unsigned int nth);

/* What inject_each() has seen so far. */
extern unsigned int outcomes[OUTCOMES];

/* Like ksm_run_cases(). Skips all if the kernel has no fault injection. */
int inject_run_cases(const struct ksm_case *cases, unsigned int count);
/* From now on, no allocation fails. */
void inject_nothing(void);

/* Makes allocation @nth of the caller fail, counted from now on. */
void inject(unsigned int nth);
/* Ends inject(). Returns whether the allocation has failed. */
bool injected(void);
/* Ends inject(). Checks @error, the result of the call @what: it must be 0 or @want. */
enum outcome inject_judge(const char *what, int error, int want);
/* Makes allocation @nth of ksmd fail, counted from now on. */
void inject_ksmd(unsigned int nth);
/* Ends inject_ksmd(). */
enum outcome inject_judge_ksmd(void);
/* Calls @attempt with 1, 2, 3 and so on, until it is UNTOUCHED. Counts the outcomes. */
void inject_each(attempt_fn *attempt);
/* Begins an attempt in a new process. Returns -1 and sets errno if fork() does. */
pid_t inject_child_start(attempt_fn *attempt, unsigned int nth);
/* Waits for the end of such an attempt. A signal may end it if @may_be_killed. */
enum outcome inject_child_end(pid_t pid, bool may_be_killed);
/* Runs an attempt in a new process to its end. */
enum outcome inject_child(attempt_fn *attempt, unsigned int nth, bool may_be_killed);

/* Starts a process with mergeable pages, which it checks after each attempt. */
void inject_call_witness(void);
void inject_dismiss_witness(void);

/* Makes inject() count only the objects of caches with a matching name. */
void inject_only(const char *pattern);

/* Makes one in @interval allocations from matching caches fail, with @percent chance. */
void inject_caches(const char *pattern, long interval, long percent);
/* Makes all allocations of the caller from a cache fail. */
void inject_own(const char *cache);
/*
 * Makes the page allocations of the caller fail, after @allowed of them. Returns a file
 * for inject_own_pages_end().
 */
int inject_own_pages(unsigned int allowed);
void inject_own_pages_end(int fd);
/* Makes all allocations of ksmd fail. @kind is "failslab" or "fail_page_alloc". */
void inject_ksmd_all(const char *kind);
/* Counts the failures since inject_caches() or inject_ksmd_all(). */
long inject_count(const char *kind);

#endif /* KSM_INJECT_H */
