// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: memory.ksm.merge, which marks the processes of a cgroup.
 *
 * Whether an mm is to be marked depends on the cgroups of its owner.  A write to the
 * file visits all mms below the cgroup.  After a fork, an exec or an attach, a work
 * item visits the mm, so that none of these has to wait, or takes mmap_lock under the
 * locks of cgroups.  Each mm has a work item of its own, because a user can keep the
 * mmap_lock of its processes taken for long.  A process that the OOM killer has chosen
 * may need the locks of cgroups to exit.  So the work item is allocated without waiting
 * for memory.  If there is none, another work item visits all processes later.
 *
 * A visit looks at the files before it takes mmap_lock, and again if one of them has
 * been written meanwhile.  A write changes the file first and visits the mms then.  So
 * the last visit to an mm always knows the last write.
 *
 * A file that a user without CAP_SYS_ADMIN has written marks only processes that this
 * user could read the memory of.  Such a mark ends at an exec, and the new program is
 * checked anew.
 */

#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/init_task.h>
#include <linux/ksm.h>
#include <linux/memcontrol.h>
#include <linux/oom.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/ptrace.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "cgroup_merge.h"
#include "group.h"
#include "mark.h"

/* Pause before another visit to an mm after an allocation has failed. */
#define KSM_RETRY_MSEC		100U
/* Ticks for which a writer waits for the mmap_locks of processes. */
#define KSM_PATIENCE		HZ

/**
 * struct ksm_cgroup_mark - the file of a memory cgroup
 * @lock: held by a writer
 * @writer: the credentials that the file was opened with, when 1 was written to it;
 *          init_cred with CAP_SYS_ADMIN; NULL if it is 0
 * @rcu: frees it
 */
struct ksm_cgroup_mark {
	struct mutex lock;	/* see above */
	const struct cred __rcu *writer;
	struct rcu_head rcu;
};

/**
 * struct ksm_mm_check - an mm to be visited
 * @work: visits it
 * @mm: the mm, with a reference to the structure
 *
 * While it waits, MMF_VM_MERGE_CHECK is set, so that an mm has one of these.
 */
struct ksm_mm_check {
	struct delayed_work work;
	struct mm_struct *mm;
};

/**
 * struct ksm_cgroup_marks - the files of all memory cgroups
 * @by_id: struct ksm_cgroup_mark by ksm_memcg_id(), of cgroups whose file was written
 * @writes: changes of a file
 * @queue: for struct ksm_mm_check
 * @checks: the cache of struct ksm_mm_check
 * @check_all: visits all mms, after an mm got no struct ksm_mm_check
 */
struct ksm_cgroup_marks {
	struct xarray by_id;
	atomic_t writes;
	struct workqueue_struct *queue;
	struct kmem_cache *checks;
	struct delayed_work check_all;
};

static void check_all(struct work_struct *work);

static struct ksm_cgroup_marks marks = {
	.by_id = XARRAY_INIT(marks.by_id, 0),
	.check_all = __DELAYED_WORK_INITIALIZER(marks.check_all, check_all, 0),
};

/**
 * enum ksm_mark_kind - what the cgroups of a task say
 * @KSM_MARK_NONE: no file is 1
 * @KSM_MARK_SOME: only users without CAP_SYS_ADMIN have written 1
 * @KSM_MARK_ALL: a user with CAP_SYS_ADMIN has written 1
 */
enum ksm_mark_kind {
	KSM_MARK_NONE,
	KSM_MARK_SOME,
	KSM_MARK_ALL,
};

static const struct cred *writer_of(const struct mem_cgroup *memcg)
{
	const struct ksm_cgroup_mark *mark = xa_load(&marks.by_id, ksm_memcg_id(memcg));

	return mark ? rcu_dereference(mark->writer) : NULL;
}

static enum ksm_mark_kind mark_kind(struct task_struct *task)
{
	enum ksm_mark_kind kind = KSM_MARK_NONE;
	struct mem_cgroup *memcg;

	rcu_read_lock();
	for (memcg = mem_cgroup_from_task(task); memcg && kind != KSM_MARK_ALL;
	     memcg = parent_mem_cgroup(memcg)) {
		const struct cred *writer = writer_of(memcg);

		if (writer)
			kind = writer == &init_cred ? KSM_MARK_ALL : KSM_MARK_SOME;
	}
	rcu_read_unlock();
	return kind;
}

/**
 * ksm_cgroup_marks_all - whether the cgroup of a task marks any process
 * @task: the task
 *
 * Context: any.
 * Return: true if the mark does not depend on who has written the file.
 */
bool ksm_cgroup_marks_all(struct task_struct *task)
{
	return mark_kind(task) == KSM_MARK_ALL;
}

/* The caller holds exec_update_lock of @owner, so its credentials fit its mm. */
static bool may_mark(struct task_struct *owner, const struct cred *writer)
{
	const struct cred *old;
	bool allowed;

	if (writer == &init_cred)
		return true;
	if (!get_cred_rcu(writer))
		return false;
	old = override_creds(writer);
	allowed = ptrace_may_access(owner, PTRACE_MODE_READ_FSCREDS | PTRACE_MODE_NOAUDIT);
	revert_creds(old);
	put_cred(writer);
	return allowed;
}

static bool is_marked(struct task_struct *owner)
{
	struct mem_cgroup *memcg;
	bool marked = false;

	rcu_read_lock();
	for (memcg = mem_cgroup_from_task(owner); memcg && !marked;
	     memcg = parent_mem_cgroup(memcg)) {
		const struct cred *writer = writer_of(memcg);

		marked = writer && may_mark(owner, writer);
	}
	rcu_read_unlock();
	return marked;
}

static struct task_struct *get_owner(struct mm_struct *mm)
{
	struct task_struct *owner;

	rcu_read_lock();
	owner = rcu_dereference(mm->owner);
	if (owner)
		owner = tryget_task_struct(owner);
	rcu_read_unlock();
	return owner;
}

/* ptrace_may_access() lets a process do anything to itself, even with other credentials. */
static bool is_own(struct task_struct *owner)
{
	return same_thread_group(owner, current) && mark_kind(owner) == KSM_MARK_SOME;
}

/* Returns whether @mm is to be marked, or an error. */
static int ask_cgroups(struct mm_struct *mm, struct task_struct *owner)
{
	int err;

	if (is_own(owner))
		return -EAGAIN;
	err = down_read_killable(&owner->signal->exec_update_lock);
	if (err)
		return err;
	/* An owner that exits or executes a program is about to be replaced. */
	err = READ_ONCE(owner->mm) == mm ? is_marked(owner) : -EAGAIN;
	up_read(&owner->signal->exec_update_lock);
	return err;
}

/* What mmap_write_lock() does without waiting: 6.12 has no mmap_write_trylock(). */
static bool try_write_lock(struct mm_struct *mm)
{
	if (!down_write_trylock(&mm->mmap_lock))
		return false;
	mm_lock_seqcount_begin(mm);
	return true;
}

/*
 * A task that holds mmap_lock may wait for a file system of a user.  The removal of a cgroup
 * waits for the end of a write to its file, with the locks of cgroups held.  So a writer
 * waits for no longer than *@patience ticks.  A work item has no @patience, and waits.
 */
static int lock_mm(struct mm_struct *mm, unsigned long *patience)
{
	if (!patience)
		return mmap_write_lock_killable(mm);
	while (!try_write_lock(mm)) {
		const unsigned long began = jiffies;

		if (fatal_signal_pending(current))
			return -EINTR;
		if (!*patience)
			return -EAGAIN;
		schedule_timeout_killable(1);
		*patience -= min(*patience, jiffies - began);
	}
	return 0;
}

static int set_mark(struct mm_struct *mm, struct task_struct *owner, unsigned long *patience)
{
	int marked, writes, err;

	for (;;) {
		writes = atomic_read_acquire(&marks.writes);
		marked = ask_cgroups(mm, owner);
		if (marked < 0)
			return marked;
		err = lock_mm(mm, patience);
		if (err)
			return err;
		if (writes == atomic_read(&marks.writes))
			break;
		mmap_write_unlock(mm);
	}
	err = marked ? ksm_mark_by_cgroup(mm) : ksm_unmark_by_cgroup(mm);
	mmap_write_unlock(mm);
	return err;
}

/*
 * Returns -EAGAIN if the mm has to be visited later, by another task; -ENOMEM, -EINTR or
 * -ERESTARTSYS if the mm is as it was.
 */
static int visit_mm(struct mm_struct *mm, unsigned long *patience)
{
	struct task_struct *owner = get_owner(mm);
	int err;

	if (!owner)
		return 0;
	err = set_mark(mm, owner, patience);
	put_task_struct(owner);
	return err;
}

static void visit_check(struct work_struct *work)
{
	struct ksm_mm_check *check = container_of(work, struct ksm_mm_check, work.work);
	struct mm_struct *mm = check->mm;
	int err = 0;

	clear_bit(MMF_VM_MERGE_CHECK, &mm->flags);
	/* A change from here on sets the bit again. */
	smp_mb__after_atomic();
	if (mmget_not_zero(mm)) {
		err = visit_mm(mm, NULL);
		mmput(mm);
	}
	if (err && !test_and_set_bit(MMF_VM_MERGE_CHECK, &mm->flags)) {
		queue_delayed_work(marks.queue, &check->work,
				   msecs_to_jiffies(KSM_RETRY_MSEC));
		return;
	}
	mmdrop(mm);
	kmem_cache_free(marks.checks, check);
}

static void add_check(struct mm_struct *mm)
{
	struct ksm_mm_check *check;

	if (test_and_set_bit(MMF_VM_MERGE_CHECK, &mm->flags))
		return;
	/* The locks of cgroups may be held, see above. */
	check = kmem_cache_alloc(marks.checks, GFP_NOWAIT | __GFP_NOWARN);
	if (!check) {
		clear_bit(MMF_VM_MERGE_CHECK, &mm->flags);
		queue_delayed_work(marks.queue, &marks.check_all,
				   msecs_to_jiffies(KSM_RETRY_MSEC));
		return;
	}
	INIT_DELAYED_WORK(&check->work, visit_check);
	mmgrab(mm);
	check->mm = mm;
	queue_delayed_work(marks.queue, &check->work, 0);
}

static bool is_owner(const struct mm_struct *mm, struct task_struct *task)
{
	struct task_struct *owner;
	bool owns;

	rcu_read_lock();
	owner = rcu_dereference(mm->owner);
	owns = owner && same_thread_group(owner, task);
	rcu_read_unlock();
	return owns;
}

/* Whether a visit may change anything, from what is known without mmap_lock. */
static bool needs_visit(const struct mm_struct *mm, struct task_struct *task)
{
	const unsigned long flags = READ_ONCE(mm->flags);
	const bool marked = flags & BIT(MMF_VM_MERGE_CGROUP);
	enum ksm_mark_kind kind;

	if (task->flags & PF_KTHREAD || !is_owner(mm, task))
		return false;
	if (!marked && flags & (BIT(MMF_VM_MERGE_ANY) | BIT(MMF_VM_MERGE_OUT)))
		return false;
	kind = mark_kind(task);
	return kind == KSM_MARK_SOME || marked != (kind == KSM_MARK_ALL);
}

static void check_task(struct task_struct *task)
{
	struct mm_struct *mm = NULL;

	/* The leader may have exited before its threads. */
	task = find_lock_task_mm(task);
	if (!task)
		return;
	if (needs_visit(task->mm, task)) {
		mm = task->mm;
		mmgrab(mm);
	}
	task_unlock(task);
	if (mm) {
		add_check(mm);
		mmdrop(mm);
	}
}

/**
 * ksm_cgroup_check - a process has another cgroup or another mm
 * @task: leader of its thread group, in its new cgroup and with its new mm
 *
 * If its cgroup marks or no longer marks the mm, this is done soon.
 *
 * Context: takes task_lock().  The locks of cgroups may be held.
 */
void ksm_cgroup_check(struct task_struct *task)
{
	if (!xa_empty(&marks.by_id))
		check_task(task);
}

/* The next process from number *@nr on, with a reference, or NULL. */
static struct task_struct *next_process(int *nr)
{
	struct task_struct *task = NULL;
	struct pid *pid;

	rcu_read_lock();
	while (!task) {
		pid = find_ge_pid(*nr, &init_pid_ns);
		if (!pid)
			break;
		*nr = pid_nr(pid) + 1;
		task = pid_task(pid, PIDTYPE_TGID);
	}
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	return task;
}

/*
 * If the loop has passed the PID of a new process, its fork checks it.  The loop runs even
 * if no cgroup has a mark: a process that has left the last such cgroup may still be marked.
 */
static void check_all(struct work_struct *work)
{
	struct task_struct *task;
	int nr = 1;

	while ((task = next_process(&nr))) {
		check_task(task);
		put_task_struct(task);
		cond_resched();
	}
}

/**
 * struct ksm_subtree - a visit to all mms of a cgroup and its descendants
 * @undo: after an error, leave the mm for later instead of stopping
 * @patience: ticks for which it may still wait for mmap_locks
 * @err: the error that has stopped it
 */
struct ksm_subtree {
	bool undo;
	unsigned long patience;
	int err;
};

static struct mm_struct *get_mm(struct task_struct *leader)
{
	struct task_struct *task = find_lock_task_mm(leader);
	struct mm_struct *mm = NULL;

	if (!task)
		return NULL;
	if (!(task->flags & PF_KTHREAD) && mmget_not_zero(task->mm))
		mm = task->mm;
	task_unlock(task);
	return mm;
}

static int visit_task(struct task_struct *leader, void *arg)
{
	struct ksm_subtree *subtree = arg;
	struct mm_struct *mm = get_mm(leader);
	int err;

	if (!mm)
		return 0;
	if (!subtree->undo && signal_pending(current))
		err = -EINTR;
	else
		err = visit_mm(mm, &subtree->patience);
	if (err == -EAGAIN || (err && subtree->undo))
		add_check(mm);
	else
		subtree->err = err;
	mmput(mm);
	return subtree->err;
}

static int visit_subtree(struct mem_cgroup *memcg, bool undo)
{
	struct ksm_subtree subtree = { .undo = undo, .patience = KSM_PATIENCE };

	mem_cgroup_scan_tasks(memcg, visit_task, &subtree);
	return subtree.err == -ERESTARTSYS ? -EINTR : subtree.err;
}

static const struct cred *set_writer(struct ksm_cgroup_mark *mark, const struct cred *writer)
{
	lockdep_assert_held(&mark->lock);
	writer = rcu_replace_pointer(mark->writer, writer, lockdep_is_held(&mark->lock));
	/* Fully ordered: a visit that does not see the change finds that there was one. */
	atomic_inc_return(&marks.writes);
	return writer;
}

/* Takes over the reference to @writer.  After an error everything is as it was. */
static int write_mark(struct mem_cgroup *memcg, struct ksm_cgroup_mark *mark,
		      const struct cred *writer)
{
	const struct cred *old;
	int err;

	if (mutex_lock_killable(&mark->lock)) {
		put_cred(writer);
		return -EINTR;
	}
	old = set_writer(mark, writer);
	err = visit_subtree(memcg, false);
	if (err) {
		old = set_writer(mark, old);
		visit_subtree(memcg, true);
	}
	mutex_unlock(&mark->lock);
	put_cred(old);
	return err;
}

static struct ksm_cgroup_mark *get_mark(unsigned int id)
{
	struct ksm_cgroup_mark *mark = xa_load(&marks.by_id, id), *other;

	if (mark)
		return mark;
	mark = kzalloc(sizeof(*mark), GFP_KERNEL_ACCOUNT);
	if (!mark)
		return NULL;
	mutex_init(&mark->lock);
	other = xa_cmpxchg(&marks.by_id, id, NULL, mark, GFP_KERNEL);
	if (!other)
		return mark;
	kfree(mark);
	return xa_is_err(other) ? NULL : other;
}

/**
 * ksm_cgroup_merge_show - read memory.ksm.merge
 * @m: where to
 * @unused: not used
 *
 * Context: may sleep.
 * Return: 0.
 */
int ksm_cgroup_merge_show(struct seq_file *m, void *unused)
{
	rcu_read_lock();
	seq_printf(m, "%d\n", !!writer_of(mem_cgroup_from_css(seq_css(m))));
	rcu_read_unlock();
	return 0;
}

/**
 * ksm_cgroup_merge_write - write memory.ksm.merge
 * @of: the open file
 * @text: what is written
 * @size: its length
 * @off: where to
 *
 * The file counts as written by the user that opened it, because a more privileged
 * program may have been made to write to it.
 *
 * Context: may sleep.
 * Return: @size; -EINVAL for other values than 0 and 1; -ENOMEM, or -EINTR where a
 * signal has arrived, and then nothing has changed.
 */
ssize_t ksm_cgroup_merge_write(struct kernfs_open_file *of, char *text, size_t size,
			       loff_t off)
{
	struct cgroup_subsys_state *css = of_css(of);
	const struct cred *writer = NULL;
	struct ksm_cgroup_mark *mark;
	unsigned int value;
	int err;

	if (kstrtouint(strstrip(text), 0, &value) || value > 1)
		return -EINVAL;
	mark = get_mark(css->id);
	if (!mark)
		return -ENOMEM;
	if (value && file_ns_capable(of->file, &init_user_ns, CAP_SYS_ADMIN))
		writer = get_cred(&init_cred);
	else if (value)
		writer = get_cred(of->file->f_cred);
	err = write_mark(mem_cgroup_from_css(css), mark, writer);
	return err ?: size;
}

/**
 * ksm_cgroup_merge_offline - forget the file of a cgroup
 * @css: the memory cgroup, which goes offline and has no processes
 *
 * Context: may sleep.
 */
void ksm_cgroup_merge_offline(struct cgroup_subsys_state *css)
{
	struct ksm_cgroup_mark *mark = xa_erase(&marks.by_id, css->id);

	if (!mark)
		return;
	put_cred(rcu_dereference_protected(mark->writer, true));
	kfree_rcu(mark, rcu);
}

static int __init ksm_cgroup_merge_init(void)
{
	marks.queue = alloc_workqueue("ksm_cgroup", WQ_UNBOUND, 0);
	marks.checks = KMEM_CACHE(ksm_mm_check, 0);
	return marks.queue && marks.checks ? 0 : -ENOMEM;
}
subsys_initcall(ksm_cgroup_merge_init);
