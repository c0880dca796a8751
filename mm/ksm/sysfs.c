// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the files in /sys/kernel/mm/ksm.
 *
 * See Documentation/ABI/testing/sysfs-kernel-mm-ksm.
 */

#include <linux/init.h>
#include <linux/kobject.h>
#include <linux/kstrtox.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "core.h"
#include "stats.h"

#define KSM_ATTR_RO(_name) \
	static struct kobj_attribute _name##_attr = __ATTR_RO(_name)
#define KSM_ATTR_RW(_name) \
	static struct kobj_attribute _name##_attr = __ATTR_RW(_name)

#define KSM_FIGURE_SHOW(_name, _format)						\
static ssize_t _name##_show(struct kobject *kobj, struct kobj_attribute *attr,	\
			    char *buf)						\
{										\
	struct ksm_figures figures;						\
										\
	ksm_get_figures(&figures);						\
	return sysfs_emit(buf, _format "\n", figures._name);			\
}

/**
 * struct ksm_knob - a number that takes effect the next time it is read
 * @attr: the file
 * @value: the number
 * @least: the minimum; only an unsigned long has one
 */
struct ksm_knob {
	struct kobj_attribute attr;
	void *value;
	unsigned long least;
};

#define KSM_KNOB(_name, _type, _value, _least)					\
	static struct ksm_knob _name##_knob = {					\
		.attr = __ATTR(_name, 0644, knob_##_type##_show,		\
			       knob_##_type##_store),				\
		.value = &(_value),						\
		.least = _least,						\
	}

static struct ksm_knob *to_knob(struct kobj_attribute *attr)
{
	return container_of(attr, struct ksm_knob, attr);
}

static ssize_t knob_uint_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	unsigned int *value = to_knob(attr)->value;

	return sysfs_emit(buf, "%u\n", READ_ONCE(*value));
}

static ssize_t knob_uint_store(struct kobject *kobj, struct kobj_attribute *attr,
			       const char *buf, size_t count)
{
	unsigned int value;

	if (kstrtouint(buf, 10, &value))
		return -EINVAL;
	WRITE_ONCE(*(unsigned int *)to_knob(attr)->value, value);
	return count;
}

static ssize_t knob_ulong_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	unsigned long *value = to_knob(attr)->value;

	return sysfs_emit(buf, "%lu\n", READ_ONCE(*value));
}

static ssize_t knob_ulong_store(struct kobject *kobj, struct kobj_attribute *attr,
				const char *buf, size_t count)
{
	unsigned long value;

	if (kstrtoul(buf, 10, &value) || value < to_knob(attr)->least)
		return -EINVAL;
	WRITE_ONCE(*(unsigned long *)to_knob(attr)->value, value);
	return count;
}

static ssize_t knob_bool_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	bool *value = to_knob(attr)->value;

	return sysfs_emit(buf, "%u\n", READ_ONCE(*value));
}

static ssize_t knob_bool_store(struct kobject *kobj, struct kobj_attribute *attr,
			       const char *buf, size_t count)
{
	bool value;

	if (kstrtobool(buf, &value))
		return -EINVAL;
	WRITE_ONCE(*(bool *)to_knob(attr)->value, value);
	return count;
}

KSM_KNOB(stable_node_chains_prune_millisecs, uint, ksm_settings.controls.prune_millisecs, 0);
KSM_KNOB(use_zero_pages, bool, ksm_settings.controls.use_zero_pages, 0);
KSM_KNOB(smart_scan, bool, ksm_settings.controls.smart_scan, 0);
KSM_KNOB(advisor_max_cpu, ulong, ksm_settings.advisor.max_cpu, 0);
KSM_KNOB(advisor_min_pages_to_scan, ulong, ksm_settings.advisor.min_pages_to_scan, 0);
KSM_KNOB(advisor_max_pages_to_scan, ulong, ksm_settings.advisor.max_pages_to_scan, 0);
KSM_KNOB(advisor_target_scan_time, ulong, ksm_settings.advisor.target_scan_time, 1);

static ssize_t advisor_start_available_show(struct kobject *kobj,
					    struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lu\n", READ_ONCE(ksm_settings.advisor.start_available));
}

static ssize_t advisor_full_available_show(struct kobject *kobj,
					   struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lu\n", READ_ONCE(ksm_settings.advisor.full_available));
}

/* The lock keeps advisor_full_available at or below advisor_start_available. */
static ssize_t store_available(unsigned long *value, const char *buf, size_t count,
			       const unsigned long *least, const unsigned long *most)
{
	ssize_t ret = count;
	unsigned long given;
	int err;

	if (kstrtoul(buf, 10, &given))
		return -EINVAL;
	err = ksm_lock_killable();
	if (err)
		return err;
	if (given >= *least && given <= *most)
		WRITE_ONCE(*value, given);
	else
		ret = -EINVAL;
	ksm_unlock();
	return ret;
}

static ssize_t advisor_start_available_store(struct kobject *kobj,
					     struct kobj_attribute *attr,
					     const char *buf, size_t count)
{
	static const unsigned long most = 100;
	struct ksm_advisor *advisor = &ksm_settings.advisor;

	return store_available(&advisor->start_available, buf, count,
			       &advisor->full_available, &most);
}
KSM_ATTR_RW(advisor_start_available);

static ssize_t advisor_full_available_store(struct kobject *kobj,
					    struct kobj_attribute *attr,
					    const char *buf, size_t count)
{
	static const unsigned long least = 1;
	struct ksm_advisor *advisor = &ksm_settings.advisor;

	return store_available(&advisor->full_available, buf, count, &least,
			       &advisor->start_available);
}
KSM_ATTR_RW(advisor_full_available);

KSM_FIGURE_SHOW(full_scans, "%lu")
KSM_ATTR_RO(full_scans);
KSM_FIGURE_SHOW(pages_scanned, "%lu")
KSM_ATTR_RO(pages_scanned);
KSM_FIGURE_SHOW(pages_skipped, "%lu")
KSM_ATTR_RO(pages_skipped);
KSM_FIGURE_SHOW(pages_shared, "%lu")
KSM_ATTR_RO(pages_shared);
KSM_FIGURE_SHOW(pages_sharing, "%lu")
KSM_ATTR_RO(pages_sharing);
KSM_FIGURE_SHOW(pages_unshared, "%lu")
KSM_ATTR_RO(pages_unshared);
KSM_FIGURE_SHOW(pages_volatile, "%lu")
KSM_ATTR_RO(pages_volatile);
KSM_FIGURE_SHOW(ksm_zero_pages, "%ld")
KSM_ATTR_RO(ksm_zero_pages);
KSM_FIGURE_SHOW(stable_node_chains, "%lu")
KSM_ATTR_RO(stable_node_chains);
KSM_FIGURE_SHOW(stable_node_dups, "%lu")
KSM_ATTR_RO(stable_node_dups);
KSM_FIGURE_SHOW(general_profit, "%ld")
KSM_ATTR_RO(general_profit);

static ssize_t sleep_millisecs_show(struct kobject *kobj,
				    struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm_settings.sleep_millisecs));
}

static ssize_t sleep_millisecs_store(struct kobject *kobj,
				     struct kobj_attribute *attr,
				     const char *buf, size_t count)
{
	unsigned int value;

	if (kstrtouint(buf, 10, &value))
		return -EINVAL;
	WRITE_ONCE(ksm_settings.sleep_millisecs, value);
	ksm_wake();
	return count;
}
KSM_ATTR_RW(sleep_millisecs);

static ssize_t pages_to_scan_show(struct kobject *kobj,
				  struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm_settings.advisor.pages_to_scan));
}

/* While an advisor is on, only the advisor sets pages_to_scan. */
static ssize_t pages_to_scan_store(struct kobject *kobj,
				   struct kobj_attribute *attr,
				   const char *buf, size_t count)
{
	ssize_t ret = count;
	unsigned int value;
	int err;

	if (kstrtouint(buf, 10, &value))
		return -EINVAL;
	err = ksm_lock_killable();
	if (err)
		return err;
	if (ksm_settings.advisor.mode == KSM_ADVISOR_NONE)
		WRITE_ONCE(ksm_settings.advisor.pages_to_scan, value);
	else
		ret = -EINVAL;
	ksm_unlock();
	return ret;
}
KSM_ATTR_RW(pages_to_scan);

static ssize_t run_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm_settings.run));
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

#ifdef CONFIG_NUMA
static ssize_t merge_across_nodes_show(struct kobject *kobj,
				       struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm_settings.controls.merge_across_nodes));
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
	err = ksm_lock_killable();
	if (err)
		return err;
	if (ksm_settings.controls.merge_across_nodes != value) {
		if (ksm_nothing_shared())
			WRITE_ONCE(ksm_settings.controls.merge_across_nodes, value);
		else
			ret = -EBUSY;
	}
	ksm_unlock();
	return ret;
}
KSM_ATTR_RW(merge_across_nodes);
#endif

#ifdef CONFIG_MEMCG
static ssize_t merge_across_cgroups_show(struct kobject *kobj,
					 struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n",
			  READ_ONCE(ksm_settings.controls.merge_across_cgroups));
}

static ssize_t merge_across_cgroups_store(struct kobject *kobj,
					  struct kobj_attribute *attr,
					  const char *buf, size_t count)
{
	unsigned int value;
	int err;

	/* Without memory cgroups nothing tells processes apart. */
	if (kstrtouint(buf, 10, &value) || value > 1 || (!value && mem_cgroup_disabled()))
		return -EINVAL;
	err = ksm_lock_killable();
	if (err)
		return err;
	err = ksm_set_merge_across_cgroups(value);
	ksm_unlock();
	return err ?: count;
}
KSM_ATTR_RW(merge_across_cgroups);
#endif

static ssize_t max_page_sharing_show(struct kobject *kobj,
				     struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm_settings.controls.max_page_sharing));
}

/* A shared page is allocated for two PTEs. */
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
	err = ksm_lock_killable();
	if (err)
		return err;
	if (ksm_settings.controls.max_page_sharing != value) {
		if (ksm_nothing_shared())
			WRITE_ONCE(ksm_settings.controls.max_page_sharing, value);
		else
			ret = -EBUSY;
	}
	ksm_unlock();
	return ret;
}
KSM_ATTR_RW(max_page_sharing);

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static ssize_t min_ptes_merged_show(struct kobject *kobj, struct kobj_attribute *attr,
				    char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm_settings.controls.min_ptes_merged));
}

static ssize_t min_ptes_merged_store(struct kobject *kobj, struct kobj_attribute *attr,
				     const char *buf, size_t count)
{
	unsigned int value;
	int err = kstrtouint(buf, 10, &value);

	if (err)
		return err;
	if (value < 1 || value > HPAGE_PMD_NR)
		return -EINVAL;
	WRITE_ONCE(ksm_settings.controls.min_ptes_merged, value);
	return count;
}
KSM_ATTR_RW(min_ptes_merged);
#endif

static ssize_t advisor_mode_show(struct kobject *kobj,
				 struct kobj_attribute *attr, char *buf)
{
	switch (READ_ONCE(ksm_settings.advisor.mode)) {
	case KSM_ADVISOR_SCAN_TIME:
		return sysfs_emit(buf, "none [scan-time] pressure\n");
	case KSM_ADVISOR_PRESSURE:
		return sysfs_emit(buf, "none scan-time [pressure]\n");
	case KSM_ADVISOR_NONE:
		break;
	}
	return sysfs_emit(buf, "[none] scan-time pressure\n");
}

static ssize_t advisor_mode_store(struct kobject *kobj,
				  struct kobj_attribute *attr,
				  const char *buf, size_t count)
{
	enum ksm_advisor_mode mode;
	int err;

	if (sysfs_streq(buf, "none"))
		mode = KSM_ADVISOR_NONE;
	else if (sysfs_streq(buf, "scan-time"))
		mode = KSM_ADVISOR_SCAN_TIME;
	else if (sysfs_streq(buf, "pressure"))
		mode = KSM_ADVISOR_PRESSURE;
	else
		return -EINVAL;
	err = ksm_lock_killable();
	if (err)
		return err;
	ksm_advisor_set_mode(&ksm_settings.advisor, mode);
	ksm_unlock();
	ksm_wake();
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
#ifdef CONFIG_MEMCG
	&merge_across_cgroups_attr.attr,
#endif
	&use_zero_pages_knob.attr.attr,
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
	&min_ptes_merged_attr.attr,
#endif
	&max_page_sharing_attr.attr,
	&stable_node_chains_prune_millisecs_knob.attr.attr,
	&smart_scan_knob.attr.attr,
	&advisor_mode_attr.attr,
	&advisor_max_cpu_knob.attr.attr,
	&advisor_min_pages_to_scan_knob.attr.attr,
	&advisor_max_pages_to_scan_knob.attr.attr,
	&advisor_target_scan_time_knob.attr.attr,
	&advisor_start_available_attr.attr,
	&advisor_full_available_attr.attr,
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

static int __init ksm_sysfs_init(void)
{
	int err = sysfs_create_group(mm_kobj, &ksm_attr_group);

	if (err)
		pr_err("ksm: cannot create the files in sysfs (%d)\n", err);
	return err;
}
subsys_initcall_sync(ksm_sysfs_init);
