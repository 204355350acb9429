# SPDX-License-Identifier: Apache-2.0
# The two commands: `make smoke` and `make test`. The rest are their parts.
SHELL := /bin/bash
SWIFT_BUILD ?= swift build
# A folder of its own: other flags in the same one would build everything anew each time. The linker of the toolchain
# folds identical functions, a quarter of a megabyte, packs the relative relocations, a whole one, where the C library can
# unpack them (glibc 2.36), and exports nothing from a program, three quarters of one.
PACKED := $(shell printf '%s\n' 'glibc 2.36' "$$(getconf GNU_LIBC_VERSION)" | sort -VC && echo -Xlinker -z -Xlinker pack-relative-relocs)
STATIC := -c release --static-swift-stdlib --scratch-path .build/static -Xswiftc -use-ld=lld -Xlinker --icf=all \
  -Xlinker --no-export-dynamic $(PACKED)
LAB := Tests/Lab/lab
LOOPS := HotLoops IOVALoops SharesBenchmark VirtqueueLoops NVMeLoops

.PHONY: help smoke test check setup release tests lint kernel-tests device-tests release-tests sanitizers soak bench hotpath \
  hot-loops lab-benchmarks lab-tiers host-tiers fuzz fuzz-short clean

help: ## Say what there is.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## Install what is missing (Debian packages; needs root or sudo).
	@Tests/setup

release: setup ## Build vfioctl: release, Swift's library linked in, stripped.
	$(SWIFT_BUILD) $(STATIC) --product vfioctl
	@strip -o .build/vfioctl .build/static/release/vfioctl

smoke: release ## Smoke-test the simulated edu here, then edu, nvme and igb in the lab on a stock kernel.
	.build/vfioctl smoke --simulated
	$(LAB) run --kernel stock --with .build/vfioctl:/bin/vfioctl --with Tests/Lab/guest/smoke:/bin/smoke -- /bin/smoke

tests: setup
	$(SWIFT_BUILD) --build-tests --explicit-target-dependency-import-check error

check: lint tests ## The tiers that need nothing: T0 (pure) and T1 (simulated).
	@Tests/tier T0
	@Tests/tier T1

kernel-tests: tests ## T2: the kernel's own objects, in the lab.
	@Tests/tier T2

device-tests: tests release ## T3: devices in every mode, in the lab.
	@Tests/tier T3

release-tests: setup ## T0 and T1 once more, optimised.
	$(SWIFT_BUILD) -c release --build-tests
	@CONFIGURATION=release Tests/tier T0
	@CONFIGURATION=release Tests/tier T1

# A build for each: every object is another one. Debug, since they say what is wrong by file and line.
sanitizers: setup ## T0 and T1 once more under ThreadSanitizer, then AddressSanitizer.
	@set -e; for sanitizer in thread address; do \
	  $(SWIFT_BUILD) --build-tests --sanitize=$$sanitizer --scratch-path .build/$$sanitizer; \
	  SANITIZER=$$sanitizer Tests/tier T0; \
	  SANITIZER=$$sanitizer Tests/tier T1; \
	done

test: export FETCH_KERNEL_HEADERS = yes
test: ## All tiers, on the kernels that the lab builds and boots; the lab needs one processor, the rest has the other.
	@Tests/part --none-ended
	@Tests/part check $(MAKE) --no-print-directory check release || { Tests/part --all-ended; exit 1; }
	@status=0; $(MAKE) --no-print-directory -k -j2 lab-tiers host-tiers || status=1; \
	Tests/part --all-ended || status=1; exit $$status

# Of what `check` and `release` built. One that fails does not keep the next from telling.
lab-tiers:
	@status=0; for tier in T2 T3; do Tests/part $$tier Tests/tier $$tier || status=1; done; exit $$status

# The lab takes longer, so that it goes first where both want a processor.
host-tiers:
	@status=0; for target in release-tests sanitizers fuzz-short hotpath; do \
	  Tests/part $$target nice $(MAKE) --no-print-directory -j1 $$target || status=1; \
	done; exit $$status

fuzz: setup ## Let libFuzzer play the other side of a virtqueue for ten minutes.
	@Tests/Fuzz/run 600

fuzz-short: setup
	@Tests/Fuzz/run 60

soak: tests ## What takes long, in the lab: a gigabyte through a file system on a disk that is served.
	@Tests/tier soak

lint: setup ## Style, as CI checks it.
	swift format lint --strict --recursive Sources Tests Examples Benchmarks Package.swift

# With the flags of `release`, in its folder: tests are built with others.
hot-loops: setup
	@set -e; for program in $(LOOPS); do $(SWIFT_BUILD) $(STATIC) --product $$program; done

lab-benchmarks: setup
	@set -e; for program in MappingBenchmark OpeningBenchmark NVMeComparison; do \
	  $(SWIFT_BUILD) $(STATIC) --product $$program; \
	  strip -o .build/$$program .build/static/release/$$program; \
	done

bench: setup ## Print the benchmark tables; see Benchmarks/README.md.
	@status=0; Benchmarks/run || status=$$?; Benchmarks/lab || status=$$?; exit $$status

hotpath: setup ## Check in the binary that hot functions call no runtime.
	Benchmarks/hotcheck

clean: ## Remove what was built here; the lab's caches stay (Tests/Lab/lab clean).
	rm -rf .build
