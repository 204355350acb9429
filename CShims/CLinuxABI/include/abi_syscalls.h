// SPDX-License-Identifier: Apache-2.0
// System calls in the form that Swift wants: a result >= 0, or -errno taken before anything else can run.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ABI_INLINE static inline

ABI_INLINE int abi_result(int value) { return value < 0 ? -errno : value; }
ABI_INLINE int64_t abi_result64(int64_t value) { return value < 0 ? -(int64_t)errno : value; }

ABI_INLINE int abi_open(const char *path, int flags) { return abi_result(open(path, flags | O_CLOEXEC)); }
ABI_INLINE int abi_create(const char *path, int flags, unsigned mode) {
  return abi_result(open(path, flags | O_CREAT | O_CLOEXEC, mode));
}
/// Linux releases the descriptor even when close is interrupted: trying again would close someone else's.
ABI_INLINE int abi_close(int fd) {
  int result = abi_result(close(fd));
  return result == -EINTR ? 0 : result;
}
ABI_INLINE int abi_dup(int fd) { return abi_result(fcntl(fd, F_DUPFD_CLOEXEC, 0)); }
ABI_INLINE int64_t abi_read(int fd, void *bytes, uint64_t count) { return abi_result64(read(fd, bytes, count)); }
ABI_INLINE int64_t abi_write(int fd, const void *bytes, uint64_t count) {
  return abi_result64(write(fd, bytes, count));
}
ABI_INLINE int64_t abi_pread(int fd, void *bytes, uint64_t count, uint64_t offset) {
  return abi_result64(pread(fd, bytes, count, (off_t)offset));
}
ABI_INLINE int64_t abi_pwrite(int fd, const void *bytes, uint64_t count, uint64_t offset) {
  return abi_result64(pwrite(fd, bytes, count, (off_t)offset));
}
ABI_INLINE int abi_fsync(int fd) { return abi_result(fsync(fd)); }
ABI_INLINE int abi_flock(int fd, int operation) { return abi_result(flock(fd, operation)); }
ABI_INLINE int abi_mkdir(const char *path, unsigned mode) { return abi_result(mkdir(path, mode)); }
ABI_INLINE int abi_rename(const char *from, const char *to) { return abi_result(rename(from, to)); }
ABI_INLINE int abi_unlink(const char *path) { return abi_result(unlink(path)); }

/// The address of a mapping, or -errno. Addresses of user space are never negative.
ABI_INLINE int64_t abi_mmap(void *hint, uint64_t count, int protection, int flags, int fd, uint64_t offset) {
  void *address = mmap(hint, count, protection, flags, fd, (off_t)offset);
  return address == MAP_FAILED ? -(int64_t)errno : (int64_t)(intptr_t)address;
}
ABI_INLINE int abi_munmap(void *address, uint64_t count) { return abi_result(munmap(address, count)); }
ABI_INLINE int abi_madvise(void *address, uint64_t count, int advice) {
  return abi_result(madvise(address, count, advice));
}

ABI_INLINE int abi_eventfd(unsigned initial, int flags) { return abi_result(eventfd(initial, flags | EFD_CLOEXEC)); }
ABI_INLINE int abi_epoll_create(void) { return abi_result(epoll_create1(EPOLL_CLOEXEC)); }
ABI_INLINE int abi_epoll_add(int epoll, int fd, uint32_t events, uint64_t token) {
  struct epoll_event event = {.events = events, .data = {.u64 = token}};
  return abi_result(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}
ABI_INLINE int abi_epoll_delete(int epoll, int fd) { return abi_result(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL)); }
/// Waits for the first ready token; 1 with `*token` set, 0 at the time limit. A negative limit waits for ever.
ABI_INLINE int abi_epoll_wait_one(int epoll, int64_t milliseconds, uint64_t *token) {
  struct epoll_event event;
  int limit = milliseconds > 0x7fffffff ? 0x7fffffff : (int)milliseconds;
  int result = abi_result(epoll_wait(epoll, &event, 1, limit));
  if (result == 1) *token = event.data.u64;
  return result;
}
/// 1 when `fd` can be read, 0 when `nanoseconds` have passed. Out of line: ppoll is a GNU extension, and a
/// header that Swift imports must not switch those on.
int abi_poll_readable(int fd, int64_t nanoseconds);
