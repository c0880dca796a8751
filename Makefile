# SPDX-License-Identifier: GPL-2.0
#
# Every target runs a script under scripts/. `make help` lists them.

Q := @
ifeq ($(V),1)
Q :=
endif

help: ## this list
	$(Q)sed -n -E 's/^([a-z][a-z-]*):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name text; do printf '%-16s %s\n' "$$name" "$$text"; done

packages: ## install the Debian packages that are missing
	$(Q)scripts/packages

kernel: packages ## build the kernel
	$(Q)scripts/build run

run: kernel ## boot it and watch it merge the memory of four KVM guests
	$(Q)scripts/run

shell: kernel ## a prompt in the booted kernel
	$(Q)scripts/shell

check: packages ## every test; the last line counts them
	$(Q)scripts/check

unit: ## the unit tests that need no kernel
	$(Q)$(MAKE) --no-print-directory -C tools/testing/ksm check

series: packages ## two patch series, fixes and KSM, each with a cover letter; BUILD=1 builds and boots each step
	$(Q)scripts/series $(if $(BUILD),--build)

clean: ## remove everything built
	$(Q)rm -rf build

# Targets that come with a makefile of their own.
-include scripts/mk/*.mk

.PHONY: help packages kernel run shell check unit series clean
.DEFAULT_GOAL := help
# One target after the other: each uses both cores by itself.
.NOTPARALLEL:
