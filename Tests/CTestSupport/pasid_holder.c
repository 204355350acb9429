// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "CLinuxABI.h"
#include "CTestSupport.h"

// What the children do: plain system calls only, for other threads may have held any lock at the fork.

static int take_pasid(const char *group_path, uint32_t first, uint32_t last, uint32_t *pasid) {
  int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
  if (container < 0) return -errno;
  int group = open(group_path, O_RDWR | O_CLOEXEC);
  if (group < 0) return -errno;
  int result = abi_vfio_group_set_container(group, container);
  if (result == 0) result = abi_vfio_set_iommu(container, ABI_VFIO_TYPE1v2_IOMMU);
  return result == 0 ? abi_vfio_iommu_pasid_alloc(container, first, last, pasid) : result;
}

int ctest_hold_pasid(const char *group, uint32_t first, uint32_t last, struct ctest_pasid_holder *holder) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
  pid_t process = fork();
  if (process == 0) {
    int64_t answer[2] = {0, 0};
    uint32_t pasid = 0;
    answer[0] = take_pasid(group, first, last, &pasid);
    answer[1] = pasid;
    if (write(ends[1], answer, sizeof(answer)) != sizeof(answer) || answer[0] < 0) _exit(1);
    for (;;) pause();
  }
  int64_t answer[2] = {process < 0 ? -errno : -EIO, 0};
  close(ends[1]);
  if (process > 0 && read(ends[0], answer, sizeof(answer)) != sizeof(answer)) answer[0] = -EIO;
  close(ends[0]);
  *holder = (struct ctest_pasid_holder){.process = process, .pasid = (uint32_t)answer[1]};
  return (int)answer[0];
}

int ctest_free_pasid_elsewhere(int container, uint32_t pasid) {
  pid_t process = fork();
  if (process < 0) return -errno;
  if (process == 0) _exit(-abi_vfio_iommu_pasid_free(container, pasid));
  int status = 0;
  while (waitpid(process, &status, 0) < 0) {
    if (errno != EINTR) return -errno;
  }
  return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}
