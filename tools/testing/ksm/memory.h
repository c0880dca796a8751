/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the rest of the kernel does to shared pages, between look-ups and during
 * them: freeing, locking and migrating them.
 */
#ifndef _KSM_TEST_MEMORY_H
#define _KSM_TEST_MEMORY_H

#include "shim.h"

void memory_reset(void);
struct folio *page_new(void);
void page_share(struct folio *folio, struct ksm_stable_node *node);
void page_vanish(struct folio *folio);
bool page_alive(const struct folio *folio);
struct folio *page_of(const struct ksm_stable_node *node);
struct folio *page_any(void);
void memory_act(struct folio *folio);
void memory_settle(void);
bool memory_was_busy(void);
void memory_offline(unsigned long start, unsigned long end);
void memory_online(void);

#endif /* _KSM_TEST_MEMORY_H */
