// SPDX-License-Identifier: Apache-2.0
// After a fork of a process with threads only system calls are safe: no allocation, no stdio.
#define _GNU_SOURCE 1
#include <CLinuxABI.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "CMockIOMMU.h"

static uint64_t number_after(const char *text, const char *name) {
  const char *found = strstr(text, name);
  if (found == NULL) return 0;
  uint64_t value = 0;
  for (found += strlen(name); *found == ' ' || *found == '\t'; found++) {}
  for (; *found >= '0' && *found <= '9'; found++) value = value * 10 + (uint64_t)(*found - '0');
  return value;
}

int cmock_usage(struct cmock_usage *usage) {
  char text[4096];
  int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  ssize_t length = read(fd, text, sizeof(text) - 1);
  close(fd);
  if (length < 0) return -EIO;
  text[length] = 0;
  usage->pinned_kib = number_after(text, "VmPin:");
  usage->locked_kib = number_after(text, "VmLck:");
  return 0;
}

struct report {
  int result;
  struct cmock_usage usage;
};

// In the child: tells the parent, and waits until the parent closes its end.
static void report_and_wait(int socket, const struct report *report) {
  char byte;
  if (write(socket, report, sizeof(*report)) == sizeof(*report)) {
    while (read(socket, &byte, 1) < 0 && errno == EINTR) {}
  }
  _exit(0);
}

// In the parent, and in the child, where `child->pid` is 0 and `child->pipe` the socket.
static int fork_child(struct cmock_child *child) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return -errno;
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid < 0) {
    int result = -errno;
    close(pair[0]);
    close(pair[1]);
    return result;
  }
  child->pid = pid;
  child->pipe = pair[pid == 0];
  close(pair[pid != 0]);
  if (pid == 0) {
    // A test that dies leaves no child behind.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
  }
  return 0;
}

static int wait_for_report(struct cmock_child *child, struct report *report) {
  ssize_t length;
  do {
    length = read(child->pipe, report, sizeof(*report));
  } while (length < 0 && errno == EINTR);
  if (length == sizeof(*report)) return report->result;
  cmock_end_child(child);
  return -ECHILD;
}

int cmock_fork_adopting(int fd, struct cmock_child *child, struct cmock_usage *usage) {
  struct report report = {0};
  int result = fork_child(child);
  if (result < 0) return result;
  if (child->pid == 0) {
    report.result = abi_iommu_ioas_change_process(fd);
    cmock_usage(&report.usage);
    report_and_wait(child->pipe, &report);
  }
  result = wait_for_report(child, &report);
  *usage = report.usage;
  return result;
}

int cmock_fork_mapping(int fd, uint32_t ioas_id, uint64_t iova, uint64_t byte_count, uint8_t byte,
                       struct cmock_child *child) {
  struct report report = {0};
  int result = fork_child(child);
  if (result < 0) return result;
  if (child->pid == 0) {
    void *memory = mmap(NULL, byte_count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) _exit(1);
    memset(memory, byte, byte_count);
    struct abi_iommu_ioas_map map = {
        .flags = ABI_IOMMU_IOAS_MAP_FIXED_IOVA | ABI_IOMMU_IOAS_MAP_READABLE | ABI_IOMMU_IOAS_MAP_WRITEABLE,
        .ioas_id = ioas_id,
        .user_va = (uint64_t)(uintptr_t)memory,
        .length = byte_count,
        .iova = iova};
    report.result = abi_iommu_ioas_map(fd, &map);
    report_and_wait(child->pipe, &report);
  }
  return wait_for_report(child, &report);
}

int cmock_end_child(struct cmock_child *child) {
  close(child->pipe);
  int status;
  while (waitpid(child->pid, &status, 0) < 0) {
    if (errno != EINTR) return -errno;
  }
  return 0;
}

int cmock_memory_file(uint64_t byte_count, int huge) {
  int fd = memfd_create("swift-vfio-test", MFD_CLOEXEC | (huge ? MFD_HUGETLB | 21u << MAP_HUGE_SHIFT : 0));
  if (fd < 0) return -errno;
  int result = cmock_truncate(fd, byte_count);
  if (result < 0) close(fd);
  return result < 0 ? result : fd;
}

int cmock_truncate(int fd, uint64_t byte_count) { return ftruncate(fd, (off_t)byte_count) < 0 ? -errno : 0; }

int64_t cmock_map_private(int fd, uint64_t byte_count) {
  return abi_mmap(NULL, byte_count, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
}

int cmock_forbid(const void *memory, uint64_t byte_count) {
  return mprotect((void *)(uintptr_t)memory, byte_count, PROT_NONE) < 0 ? -errno : 0;
}

int cmock_map_large_blocks(void) { return mallopt(M_MMAP_THRESHOLD, 1 << 17); }

int cmock_command(int fd, uint32_t number, void *command) {
  return abi_result(ioctl(fd, _IO(ABI_IOMMUFD_TYPE, number), command));
}

int64_t cmock_page_table(int fd, uint32_t device_id, uint32_t ioas_id, uint32_t flags) {
  struct {
    uint32_t size, flags, device_id, parent_id, out_id, reserved, data_type, data_length;
    uint64_t data;
    uint32_t fault_id, reserved2;
  } command = {.size = sizeof(command), .flags = flags, .device_id = device_id, .parent_id = ioas_id};
  _Static_assert(sizeof(command) == 48, "iommu_hwpt_alloc");
  int result = cmock_command(fd, 0x89, &command);
  return result < 0 ? result : (int64_t)command.out_id;
}

int cmock_write_setting(const char *path, const char *text) {
  int fd = abi_open(path, O_WRONLY);
  if (fd < 0) return fd;
  int64_t result = abi_write(fd, text, strlen(text));
  close(fd);
  return result < 0 ? (int)result : 0;
}

int cmock_fail_nth(int file, uint32_t n) {
  char text[12];
  int length = 0;
  char digits[12];
  do {
    digits[length++] = (char)('0' + n % 10);
    n /= 10;
  } while (n > 0);
  for (int index = 0; index < length; index++) text[index] = digits[length - 1 - index];
  return pwrite(file, text, (size_t)length, 0) < 0 ? -errno : 0;
}

int cmock_end_fail_nth(int file) {
  char text[16];
  ssize_t length = pread(file, text, sizeof(text) - 1, 0);
  if (length < 0) return -errno;
  text[length] = 0;
  int result = cmock_fail_nth(file, 0);
  return result < 0 ? result : atoi(text);
}
