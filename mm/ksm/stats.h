/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: what merging saves, and what that costs.
 */
#ifndef _MM_KSM_STATS_H
#define _MM_KSM_STATS_H

struct ksm_domains;

/**
 * struct ksm_figures - what the read-only files of /sys/kernel/mm/ksm show
 * @full_scans: passes completed
 * @pages_scanned: pages scanned
 * @pages_skipped: pages skipped by smart_scan
 * @pages_shared: shared pages
 * @pages_sharing: mappings of shared pages beyond the first of each
 * @pages_unshared: unchanged pages without a duplicate
 * @pages_volatile: pages in no tree
 * @ksm_zero_pages: PTEs in which merging put the zero page
 * @stable_node_chains: contents with more than one shared page
 * @stable_node_dups: shared pages of those
 * @metadata_bytes: memory that KSM takes for all this
 * @general_profit: bytes saved less bytes of metadata
 */
struct ksm_figures {
	unsigned long full_scans;
	unsigned long pages_scanned;
	unsigned long pages_skipped;
	unsigned long pages_shared;
	unsigned long pages_sharing;
	unsigned long pages_unshared;
	unsigned long pages_volatile;
	long ksm_zero_pages;
	unsigned long stable_node_chains;
	unsigned long stable_node_dups;
	unsigned long metadata_bytes;
	long general_profit;
};

void ksm_domains_figures(struct ksm_domains *domains, struct ksm_figures *figures);
bool ksm_domain_figures(struct ksm_domains *domains, unsigned int id, long zero_pages,
			struct ksm_figures *figures);

#endif /* _MM_KSM_STATS_H */
