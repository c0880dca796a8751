/* SPDX-License-Identifier: GPL-2.0 */
/* A clock of a millisecond that stands still until a test moves it. */
#ifndef _KSM_TEST_LINUX_JIFFIES_H
#define _KSM_TEST_LINUX_JIFFIES_H

extern unsigned long jiffies;

#define time_after(a, b)	((long)((b) - (a)) < 0)
#define time_before(a, b)	time_after(b, a)
#define time_after_eq(a, b)	((long)((a) - (b)) >= 0)

static inline unsigned long msecs_to_jiffies(unsigned int millisecs)
{
	return millisecs;
}

#endif /* _KSM_TEST_LINUX_JIFFIES_H */
