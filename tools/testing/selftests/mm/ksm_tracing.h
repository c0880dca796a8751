/* SPDX-License-Identifier: GPL-2.0 */
/* Events of KSM in a trace instance, which does not disturb other tracing. */
#ifndef KSM_TRACING_H
#define KSM_TRACING_H

/* The folder of tracefs. Skips the case if there is none, or if it has no KSM events. */
const char *tracing_root(void);
void tracing_start(const char *event);
/* How many lines of the event have the words. */
unsigned int tracing_count(const char *event, const char *words);
void tracing_end(void);

#endif /* KSM_TRACING_H */
