# SPDX-License-Identifier: GPL-2.0

deb-tools: packages ## a Debian package of ksmrun, ksmtop, ksm-apply, in build/deb
	$(Q)scripts/deb-tools

.PHONY: deb-tools
