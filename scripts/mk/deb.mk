# SPDX-License-Identifier: GPL-2.0

deb: ## kernel packages in build/deb; CONFIG=path for a .config, BTF=n, SMALL=1 for QEMU
	$(Q)scripts/packages deb
	$(Q)scripts/deb-kernel $(if $(filter n,$(BTF)),--no-btf) $(if $(SMALL),--small) $(if $(CONFIG),'$(CONFIG)')

deb-tools: packages ## a Debian package of ksmrun, ksmtop, ksm-apply, in build/deb
	$(Q)scripts/deb-tools

check-host: packages ## install both in a Debian, boot it and test it: ksmtuned, libvirt ...
	$(Q)scripts/packages host
	$(Q)scripts/check-host

.PHONY: deb deb-tools check-host
