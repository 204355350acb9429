// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE 1
#include "CTestSupport.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int set_capability(int capability, int on) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) != 0) return -errno;
  if (on)
    data[0].effective |= data[0].permitted & (1u << capability);
  else
    data[0].effective &= ~(1u << capability);
  return syscall(SYS_capset, &header, data) != 0 ? -errno : 0;
}

int ctest_limit_locked_memory(uint64_t limit, uint64_t *previous) {
  struct rlimit old;
  if (getrlimit(RLIMIT_MEMLOCK, &old) != 0) return -errno;
  // The hard limit stays where it is enough: raising it needs a privilege.
  struct rlimit low = {.rlim_cur = limit, .rlim_max = limit > old.rlim_max ? limit : old.rlim_max};
  if (setrlimit(RLIMIT_MEMLOCK, &low) != 0) return -errno;
  *previous = old.rlim_cur;
  int result = set_capability(CAP_IPC_LOCK, 0);
  if (result != 0) ctest_lift_locked_memory_limit(*previous);
  return result;
}

void ctest_lift_locked_memory_limit(uint64_t previous) {
  struct rlimit limit;
  set_capability(CAP_IPC_LOCK, 1);
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return;
  limit.rlim_cur = previous;
  setrlimit(RLIMIT_MEMLOCK, &limit);
}

int ctest_switch_capability(int capability, int on) { return set_capability(capability, on); }
