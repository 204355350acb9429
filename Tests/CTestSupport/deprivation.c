// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE 1
#include "CTestSupport.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// The calls themselves: the C library would do it to all threads.
int ctest_become_user(uint32_t user) {
  if (syscall(SYS_setgroups, 0, 0) != 0 || syscall(SYS_setresgid, user, user, user) != 0) return -errno;
  return syscall(SYS_setresuid, user, user, user) != 0 ? -errno : 0;
}

int ctest_lose_capability(int capability) {
  return prctl(PR_CAPBSET_DROP, (unsigned long)capability, 0, 0, 0) != 0 ? -errno : 0;
}

int ctest_hide_folder(const char *folder) {
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) != 0) return -errno;
  return mount("nothing", folder, "tmpfs", 0, 0) != 0 ? -errno : 0;
}
