// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE 1
#include "abi_stat.h"
#include "abi_syscalls.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

int abi_poll_readable(int fd, int64_t nanoseconds) {
  struct pollfd entry = {.fd = fd, .events = POLLIN, .revents = 0};
  struct timespec limit = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
  return abi_result(ppoll(&entry, 1, &limit, NULL));
}

int abi_open_direct(const char *path, int flags) { return abi_open(path, flags | O_DIRECT); }

int abi_statx(int fd, uint32_t mask, struct abi_statx *facts) {
  return (int)abi_result64(syscall(SYS_statx, fd, "", AT_EMPTY_PATH, mask, facts));
}

int abi_punch_hole(int fd, uint64_t offset, uint64_t count) {
  return abi_result(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)count));
}

int abi_zero_range(int fd, uint64_t offset, uint64_t count) {
  return abi_result(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)count));
}

int abi_dup_over(int fd, int number) { return abi_result(dup3(fd, number, O_CLOEXEC)); }

int abi_memory_file(const char *name, int byte, uint64_t byteCount) {
  int fd = abi_result(memfd_create(name, MFD_CLOEXEC));
  if (fd < 0) return fd;
  char bytes[4096];
  memset(bytes, byte, sizeof(bytes));
  for (uint64_t done = 0; done < byteCount;) {
    uint64_t rest = byteCount - done;
    int64_t count = abi_write(fd, bytes, rest < sizeof(bytes) ? rest : sizeof(bytes));
    if (count < 0) {
      close(fd);
      return (int)count;
    }
    done += (uint64_t)count;
  }
  return fd;
}

int abi_memfd_create(const char *name) { return abi_result(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)); }

int abi_realpath(const char *path, char *buffer) {
  _Static_assert(PATH_MAX == 4096, "abi_realpath's buffer");
  return realpath(path, buffer) == NULL ? -errno : (int)strlen(buffer);
}

int abi_block_claim(const char *path) {
  struct stat facts;
  if (stat(path, &facts) < 0) return -errno;
  if (!S_ISBLK(facts.st_mode)) return 0;
  int fd = open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -errno;
  close(fd);
  return 0;
}

int64_t abi_directory_read(int fd, void *buffer, uint64_t count) {
  return abi_result64(syscall(SYS_getdents64, fd, buffer, count));
}

const char *abi_directory_entry(const void *buffer, uint64_t *offset) {
  const struct dirent64 *entry = (const void *)((const char *)buffer + *offset);
  *offset += entry->d_reclen;
  return entry->d_name;
}

int64_t abi_interface_addresses(char *buffer, uint64_t count) {
  struct ifaddrs *list;
  if (getifaddrs(&list) < 0) return -errno;
  int64_t length = 0;
  for (const struct ifaddrs *item = list; item != NULL; item = item->ifa_next) {
    const uint8_t *bytes;
    int width;
    if (item->ifa_addr == NULL) continue;
    if (item->ifa_addr->sa_family == AF_INET) {
      bytes = (const uint8_t *)&((const struct sockaddr_in *)item->ifa_addr)->sin_addr;
      width = 4;
    } else if (item->ifa_addr->sa_family == AF_INET6) {
      bytes = (const uint8_t *)&((const struct sockaddr_in6 *)item->ifa_addr)->sin6_addr;
      width = 16;
    } else {
      continue;
    }
    char line[64];
    int used = snprintf(line, sizeof(line), "%.15s ", item->ifa_name);
    for (int at = 0; at < width; at++) used += snprintf(line + used, sizeof(line) - (size_t)used, "%02x", bytes[at]);
    line[used++] = '\n';
    if ((uint64_t)(length + used) <= count) memcpy(buffer + length, line, (size_t)used);
    length += used;
  }
  freeifaddrs(list);
  return length;
}
