// SPDX-License-Identifier: Apache-2.0
// What tests need from the kernel and the library does not.
#pragma once
#include <stdint.h>

/// Takes CAP_IPC_LOCK from this thread's effective set and lowers the soft RLIMIT_MEMLOCK; 0 or -errno.
int ctest_limit_locked_memory(uint64_t limit, uint64_t *previous);
/// Undoes it; both come back from what is still permitted.
void ctest_lift_locked_memory_limit(uint64_t previous);
/// Takes a capability (0 to 31) out of this thread's effective set, or puts it back where it is permitted; 0 or -errno.
int ctest_switch_capability(int capability, int on);
// What a thread gives up for good, and with it every program that it starts; 0 or -errno.

/// All that root may, and the ID of root.
int ctest_become_user(uint32_t user);
/// A capability, at the next start of a program.
int ctest_lose_capability(int capability);
/// The files of a folder: it is empty from now on.
int ctest_hide_folder(const char *folder);

/// A process that holds a PASID; see ctest_hold_pasid. It has no more descriptors than its own.
struct ctest_pasid_holder {
  int32_t process;
  uint32_t pasid;
};
/// Starts a process that opens a container and an IOMMU group of its own, takes a PASID and waits to be killed; 0 or -errno.
int ctest_hold_pasid(const char *group, uint32_t first, uint32_t last, struct ctest_pasid_holder *holder);
/// Lets another process, which has the same descriptor, give a PASID of a container back: its answer, 0 or -errno.
int ctest_free_pasid_elsewhere(int container, uint32_t pasid);

/// Lets the kernel look at a serial port by a timer from now on, and wait for its interrupt no longer; 0 or -errno.
int ctest_poll_serial_port(int fd);
/// Fills memory with words that look random, and takes the seed on. Debug builds of Swift are slow at this and at the next.
void ctest_fill_words(uint64_t *words, uint64_t count, uint64_t *seed);
/// Adds words to a sum that notices when two of them change places (FNV-1a).
uint64_t ctest_add_words(const uint64_t *words, uint64_t count, uint64_t sum);
