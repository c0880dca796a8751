// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: debugfs file ksm/processes, a line for each process.
 *
 * The file goes through the numbers of processes, as a reader of /proc does.  So no
 * lock is held from one line to the next, and a process that comes or goes meanwhile
 * moves no other line.
 */

#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/ksm.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <trace/events/ksm.h>

#include "skip.h"
#include "slots.h"

/* Returns the next process from *@pos on, with a reference, or NULL. */
static struct task_struct *next_process(struct seq_file *m, loff_t *pos)
{
	struct pid_namespace *ns = m->private;
	struct task_struct *task = NULL;
	struct pid *pid;

	rcu_read_lock();
	while (!task && *pos <= PID_MAX_LIMIT) {
		pid = find_ge_pid(*pos, ns);
		if (!pid)
			break;
		*pos = pid_nr_ns(pid, ns);
		task = pid_task(pid, PIDTYPE_TGID);
		if (task)
			get_task_struct(task);
		else
			(*pos)++;
	}
	rcu_read_unlock();
	return task;
}

/* Position 0 is the header. */
static void *processes_start(struct seq_file *m, loff_t *pos)
{
	return *pos ? next_process(m, pos) : SEQ_START_TOKEN;
}

static void *processes_next(struct seq_file *m, void *v, loff_t *pos)
{
	if (v != SEQ_START_TOKEN)
		put_task_struct(v);
	cond_resched();
	(*pos)++;
	return next_process(m, pos);
}

static void processes_stop(struct seq_file *m, void *v)
{
	if (v && v != SEQ_START_TOKEN)
		put_task_struct(v);
}

/*
 * The most frequent reason among the @rest, the volatile pages, and those without a record.
 * Volatile pages for which nothing else is noted have changed.
 */
static enum ksm_skip most_frequent(const struct ksm_slot_figures *figures,
				   unsigned long rest)
{
	unsigned long most = 0, changed = rest;
	enum ksm_skip reason, found = KSM_SKIP_CHANGED;

	for (reason = KSM_SKIP_CHANGED + 1; reason < KSM_NR_SKIPS; reason++) {
		unsigned long nr = figures->skipped[reason];

		changed -= min(changed, nr);
		if (reason == KSM_SKIP_NO_MEMORY)
			nr += figures->missed;
		if (nr > most) {
			most = nr;
			found = reason;
		}
	}
	return changed > most ? KSM_SKIP_CHANGED : found;
}

/* One word, so that each line has as many as the header.  @rest: volatile pages. */
static void show_reason(struct seq_file *m, const struct ksm_slot_figures *figures,
			unsigned long rest)
{
	char word[32] = "-";

	if (figures->moving)
		strscpy(word, ksm_skip_name(KSM_SKIP_OTHER_DOMAIN));
	else if (rest || figures->missed)
		strscpy(word, ksm_skip_name(most_frequent(figures, rest)));
	else if (figures->unshared)
		strscpy(word, ksm_skip_name(KSM_SKIP_NO_DUPLICATE));
	strreplace(word, ' ', '_');
	seq_printf(m, " %s\n", word);
}

static void show_pages(struct seq_file *m, struct mm_struct *mm,
		       const struct ksm_slot_figures *figures)
{
	const unsigned long merging = READ_ONCE(mm->ksm_merging_pages);
	const unsigned long known = READ_ONCE(mm->ksm_rmap_items);
	const unsigned long placed = merging + figures->unshared;
	const unsigned long rest = known > placed ? known - placed : 0;

	seq_printf(m, " %lu %lu %lu %lu %ld %llu", merging, figures->sharing,
		   figures->unshared, rest, mm_ksm_zero_pages(mm),
		   ksm_process_domain(mm));
	show_reason(m, figures, rest);
}

static int processes_show(struct seq_file *m, void *v)
{
	struct ksm_slot_figures figures;
	struct task_struct *task = v;
	char comm[TASK_COMM_LEN];
	struct mm_struct *mm;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, "pid comm shared sharing unshared volatile zero domain reason\n");
		return 0;
	}
	mm = get_task_mm(task);
	if (!mm)
		return 0;
	if (ksm_slots_read(&ksm_slots, mm, &figures)) {
		seq_printf(m, "%d ", task_tgid_nr_ns(task, m->private));
		seq_escape(m, get_task_comm(comm, task), " \t\n\\");
		show_pages(m, mm, &figures);
	}
	mmput(mm);
	return 0;
}

static const struct seq_operations processes_ops = {
	.start = processes_start,
	.next = processes_next,
	.stop = processes_stop,
	.show = processes_show,
};

static int processes_open(struct inode *inode, struct file *file)
{
	int err = seq_open(file, &processes_ops);
	struct seq_file *m = file->private_data;

	if (!err)
		m->private = get_pid_ns(task_active_pid_ns(current));
	return err;
}

static int processes_release(struct inode *inode, struct file *file)
{
	struct seq_file *m = file->private_data;

	put_pid_ns(m->private);
	return seq_release(inode, file);
}

static const struct file_operations processes_fops = {
	.owner = THIS_MODULE,
	.open = processes_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = processes_release,
};

static int __init ksm_processes_init(void)
{
	debugfs_create_file("processes", 0400, debugfs_create_dir("ksm", NULL), NULL,
			    &processes_fops);
	return 0;
}
late_initcall(ksm_processes_init);
