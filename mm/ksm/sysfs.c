// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the files in /sys/kernel/mm/ksm.
 *
 * See Documentation/ABI/testing/sysfs-kernel-mm-ksm.
 */

#include <linux/kobject.h>
#include <linux/kstrtox.h>
#include <linux/mm.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "ksm.h"

#define KSM_ATTR_RO(_name) \
	static struct kobj_attribute _name##_attr = __ATTR_RO(_name)
#define KSM_ATTR_RW(_name) \
	static struct kobj_attribute _name##_attr = __ATTR_RW(_name)

/* A figure: read without a lock. */
#define KSM_FIGURE(_name, _format, _value)					\
static ssize_t _name##_show(struct kobject *kobj, struct kobj_attribute *attr,	\
			    char *buf)						\
{										\
	return sysfs_emit(buf, _format "\n", _value);				\
}										\
KSM_ATTR_RO(_name)

/* A number that takes effect the next time it is looked at. */
#define KSM_KNOB(_name, _type, _format, _parse, _variable, _valid)		\
static ssize_t _name##_show(struct kobject *kobj, struct kobj_attribute *attr,	\
			    char *buf)						\
{										\
	return sysfs_emit(buf, _format "\n", READ_ONCE(_variable));		\
}										\
										\
static ssize_t _name##_store(struct kobject *kobj, struct kobj_attribute *attr,	\
			     const char *buf, size_t count)			\
{										\
	_type value;								\
										\
	if (_parse || !(_valid))						\
		return -EINVAL;							\
	WRITE_ONCE(_variable, value);						\
	return count;								\
}										\
KSM_ATTR_RW(_name)

#define KSM_KNOB_UINT(_name, _variable) \
	KSM_KNOB(_name, unsigned int, "%u", kstrtouint(buf, 10, &value), _variable, true)
#define KSM_KNOB_ULONG(_name, _variable, _valid) \
	KSM_KNOB(_name, unsigned long, "%lu", kstrtoul(buf, 10, &value), _variable, _valid)
#define KSM_KNOB_BOOL(_name, _variable) \
	KSM_KNOB(_name, bool, "%u", kstrtobool(buf, &value), _variable, true)

KSM_FIGURE(full_scans, "%lu", READ_ONCE(ksm.scan.seqnr));
KSM_FIGURE(pages_scanned, "%lu", READ_ONCE(ksm.domain.counters.scanned));
KSM_FIGURE(pages_skipped, "%lu", READ_ONCE(ksm.domain.counters.skipped));
KSM_FIGURE(pages_shared, "%lu", READ_ONCE(ksm.domain.counters.shared));
KSM_FIGURE(pages_sharing, "%lu", READ_ONCE(ksm.domain.counters.sharing));
KSM_FIGURE(pages_unshared, "%lu", READ_ONCE(ksm.domain.unstable.nr));
KSM_FIGURE(pages_volatile, "%lu", ksm_pages_volatile(&ksm.domain));
KSM_FIGURE(ksm_zero_pages, "%ld", atomic_long_read(&ksm_zero_pages));
KSM_FIGURE(stable_node_chains, "%lu", READ_ONCE(ksm.domain.counters.chains));
KSM_FIGURE(stable_node_dups, "%lu", READ_ONCE(ksm.domain.counters.dups));
KSM_FIGURE(general_profit, "%ld", ksm_general_profit(&ksm.domain));

KSM_KNOB_UINT(stable_node_chains_prune_millisecs, ksm.prune_millisecs);
KSM_KNOB_BOOL(use_zero_pages, ksm.use_zero_pages);
KSM_KNOB_BOOL(smart_scan, ksm.smart_scan);
KSM_KNOB_ULONG(advisor_max_cpu, ksm.advisor.max_cpu, true);
KSM_KNOB_ULONG(advisor_min_pages_to_scan, ksm.advisor.min_pages_to_scan, true);
KSM_KNOB_ULONG(advisor_max_pages_to_scan, ksm.advisor.max_pages_to_scan, true);
KSM_KNOB_ULONG(advisor_target_scan_time, ksm.advisor.target_scan_time, value);

static ssize_t sleep_millisecs_show(struct kobject *kobj,
				    struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm.sleep_millisecs));
}

static ssize_t sleep_millisecs_store(struct kobject *kobj,
				     struct kobj_attribute *attr,
				     const char *buf, size_t count)
{
	unsigned int value;

	if (kstrtouint(buf, 10, &value))
		return -EINVAL;
	WRITE_ONCE(ksm.sleep_millisecs, value);
	wake_up_interruptible(&ksm.sleep_wait);
	return count;
}
KSM_ATTR_RW(sleep_millisecs);

static ssize_t pages_to_scan_show(struct kobject *kobj,
				  struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm.advisor.pages_to_scan));
}

/* While the advisor decides, nobody else does. */
static ssize_t pages_to_scan_store(struct kobject *kobj,
				   struct kobj_attribute *attr,
				   const char *buf, size_t count)
{
	unsigned int value;

	if (READ_ONCE(ksm.advisor.mode) != KSM_ADVISOR_NONE)
		return -EINVAL;
	if (kstrtouint(buf, 10, &value))
		return -EINVAL;
	WRITE_ONCE(ksm.advisor.pages_to_scan, value);
	return count;
}
KSM_ATTR_RW(pages_to_scan);

static ssize_t run_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm.run));
}

static ssize_t run_store(struct kobject *kobj, struct kobj_attribute *attr,
			 const char *buf, size_t count)
{
	unsigned int value;
	int err;

	if (kstrtouint(buf, 10, &value) || value > KSM_RUN_UNMERGE)
		return -EINVAL;
	err = ksm_set_run(value);
	return err ?: count;
}
KSM_ATTR_RW(run);

/*
 * What decides which pages may share one can change only while none does, and
 * while no page that did is left in the swap cache.
 */
static bool nothing_shared(void)
{
	lockdep_assert_held(&ksm.lock);
	return !ksm.domain.counters.shared && ksm_stable_clear(&ksm.domain);
}

#ifdef CONFIG_NUMA
static ssize_t merge_across_nodes_show(struct kobject *kobj,
				       struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm.merge_across_nodes));
}

static ssize_t merge_across_nodes_store(struct kobject *kobj,
					struct kobj_attribute *attr,
					const char *buf, size_t count)
{
	ssize_t ret = count;
	unsigned long value;
	int err;

	err = kstrtoul(buf, 10, &value);
	if (err)
		return err;
	if (value > 1)
		return -EINVAL;
	ksm_lock();
	if (ksm.merge_across_nodes != value) {
		if (nothing_shared())
			WRITE_ONCE(ksm.merge_across_nodes, value);
		else
			ret = -EBUSY;
	}
	ksm_unlock();
	return ret;
}
KSM_ATTR_RW(merge_across_nodes);
#endif

static ssize_t max_page_sharing_show(struct kobject *kobj,
				     struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm.max_page_sharing));
}

/* Merging makes a page that two mappings share: fewer make no sense. */
static ssize_t max_page_sharing_store(struct kobject *kobj,
				      struct kobj_attribute *attr,
				      const char *buf, size_t count)
{
	ssize_t ret = count;
	int err, value;

	err = kstrtoint(buf, 10, &value);
	if (err)
		return err;
	if (value < 2)
		return -EINVAL;
	ksm_lock();
	if (ksm.max_page_sharing != value) {
		if (nothing_shared())
			WRITE_ONCE(ksm.max_page_sharing, value);
		else
			ret = -EBUSY;
	}
	ksm_unlock();
	return ret;
}
KSM_ATTR_RW(max_page_sharing);

static ssize_t advisor_mode_show(struct kobject *kobj,
				 struct kobj_attribute *attr, char *buf)
{
	if (READ_ONCE(ksm.advisor.mode) == KSM_ADVISOR_SCAN_TIME)
		return sysfs_emit(buf, "none [scan-time]\n");
	return sysfs_emit(buf, "[none] scan-time\n");
}

static ssize_t advisor_mode_store(struct kobject *kobj,
				  struct kobj_attribute *attr,
				  const char *buf, size_t count)
{
	enum ksm_advisor_mode mode;

	if (sysfs_streq(buf, "none"))
		mode = KSM_ADVISOR_NONE;
	else if (sysfs_streq(buf, "scan-time"))
		mode = KSM_ADVISOR_SCAN_TIME;
	else
		return -EINVAL;
	ksm_lock();
	ksm_advisor_set_mode(&ksm.advisor, mode);
	ksm_unlock();
	return count;
}
KSM_ATTR_RW(advisor_mode);

static struct attribute *ksm_attrs[] = {
	&run_attr.attr,
	&pages_to_scan_attr.attr,
	&sleep_millisecs_attr.attr,
#ifdef CONFIG_NUMA
	&merge_across_nodes_attr.attr,
#endif
	&use_zero_pages_attr.attr,
	&max_page_sharing_attr.attr,
	&stable_node_chains_prune_millisecs_attr.attr,
	&smart_scan_attr.attr,
	&advisor_mode_attr.attr,
	&advisor_max_cpu_attr.attr,
	&advisor_min_pages_to_scan_attr.attr,
	&advisor_max_pages_to_scan_attr.attr,
	&advisor_target_scan_time_attr.attr,
	&full_scans_attr.attr,
	&pages_scanned_attr.attr,
	&pages_skipped_attr.attr,
	&pages_shared_attr.attr,
	&pages_sharing_attr.attr,
	&pages_unshared_attr.attr,
	&pages_volatile_attr.attr,
	&ksm_zero_pages_attr.attr,
	&stable_node_chains_attr.attr,
	&stable_node_dups_attr.attr,
	&general_profit_attr.attr,
	NULL,
};

static const struct attribute_group ksm_attr_group = {
	.name = "ksm",
	.attrs = ksm_attrs,
};

/**
 * ksm_sysfs_init - create the files
 *
 * Context: once, at boot.
 * Return: 0 or an error of sysfs.
 */
int __init ksm_sysfs_init(void)
{
	return sysfs_create_group(mm_kobj, &ksm_attr_group);
}
