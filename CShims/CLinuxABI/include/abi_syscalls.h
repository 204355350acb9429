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
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define ABI_INLINE static inline

ABI_INLINE int abi_result(int value) { return value < 0 ? -errno : value; }
ABI_INLINE int64_t abi_result64(int64_t value) { return value < 0 ? -(int64_t)errno : value; }

ABI_INLINE int abi_open(const char *path, int flags) { return abi_result(open(path, flags | O_CLOEXEC)); }
ABI_INLINE int abi_create(const char *path, int flags, unsigned mode) {
  return abi_result(open(path, flags | O_CREAT | O_CLOEXEC, mode));
}
/// Past the page cache (O_DIRECT). Out of line: that is a GNU extension.
int abi_open_direct(const char *path, int flags);
/// Linux releases the descriptor even when close is interrupted: trying again would close someone else's.
ABI_INLINE int abi_close(int fd) {
  int result = abi_result(close(fd));
  return result == -EINTR ? 0 : result;
}
ABI_INLINE int abi_dup(int fd) { return abi_result(fcntl(fd, F_DUPFD_CLOEXEC, 0)); }
/// Lets `number`, which is open, be another descriptor of the file of `fd`. Out of line: dup3 is a GNU extension.
int abi_dup_over(int fd, int number);
/// A file in memory of `byteCount` bytes that all are `byte`. Out of line as well.
int abi_memory_file(const char *name, int byte, uint64_t byteCount);
/// An empty file in memory, closed on exec, that takes seals. Out of line as well.
/// Source: memfd_create(2), Linux 3.17.
int abi_memfd_create(const char *name);
ABI_INLINE int abi_ftruncate(int fd, uint64_t byteCount) { return abi_result(ftruncate(fd, (off_t)byteCount)); }
/// Nobody can make the file shorter or longer any more, nor take this back (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW).
ABI_INLINE int abi_seal_size(int fd) { return abi_result(fcntl(fd, 1033 /* F_ADD_SEALS */, 7)); }
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
/// `parts` are `iovec`s, at most 1024 (IOV_MAX), in memory of this process.
ABI_INLINE int64_t abi_preadv(int fd, const struct iovec *parts, uint64_t count, uint64_t offset) {
  return abi_result64(preadv(fd, parts, (int)count, (off_t)offset));
}
ABI_INLINE int64_t abi_pwritev(int fd, const struct iovec *parts, uint64_t count, uint64_t offset) {
  return abi_result64(pwritev(fd, parts, (int)count, (off_t)offset));
}
/// The length of a file, or of the medium of a block device.
ABI_INLINE int64_t abi_file_size(int fd) { return abi_result64(lseek(fd, 0, SEEK_END)); }
ABI_INLINE int abi_fdatasync(int fd) { return abi_result(fdatasync(fd)); }
/// Both keep the file's length, and let the bytes read as zeroes; the first one gives their storage back. Out of line:
/// fallocate is a GNU extension.
int abi_punch_hole(int fd, uint64_t offset, uint64_t count);
int abi_zero_range(int fd, uint64_t offset, uint64_t count);
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
/// Gives private memory its own pages, as writing to each of them would; Linux 5.14.
ABI_INLINE int abi_populate_for_writing(void *address, uint64_t count) {
  return abi_madvise(address, count, 23 /* MADV_POPULATE_WRITE */);
}

ABI_INLINE int abi_mlock(const void *address, uint64_t count) { return abi_result(mlock(address, count)); }
ABI_INLINE int abi_munlock(const void *address, uint64_t count) { return abi_result(munlock(address, count)); }

ABI_INLINE int abi_eventfd(unsigned initial, int flags) { return abi_result(eventfd(initial, flags | EFD_CLOEXEC)); }
ABI_INLINE int abi_epoll_create(void) { return abi_result(epoll_create1(EPOLL_CLOEXEC)); }
ABI_INLINE int abi_epoll_add(int epoll, int fd, uint32_t events, uint64_t token) {
  struct epoll_event event = {.events = events, .data = {.u64 = token}};
  return abi_result(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}
ABI_INLINE int abi_epoll_delete(int epoll, int fd) { return abi_result(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL)); }
/// Waits for ready descriptors, of which the buffer of 256 bytes holds 16; 0 at the time limit, which a
/// negative number of milliseconds does not set.
ABI_INLINE int abi_epoll_wait(int epoll, int64_t milliseconds, void *buffer) {
  _Static_assert(16 * sizeof(struct epoll_event) <= 256, "room for 16");
  int limit = milliseconds > 0x7fffffff ? 0x7fffffff : (int)milliseconds;
  return abi_result(epoll_wait(epoll, (struct epoll_event *)buffer, 16, limit));
}
/// The token of one that is ready.
ABI_INLINE uint64_t abi_epoll_token(const void *buffer, int index) {
  return ((const struct epoll_event *)buffer)[index].data.u64;
}
ABI_INLINE int abi_timerfd(void) { return abi_result(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)); }
/// Fires once, `nanoseconds` from now; at least one of them, because none would stop the timer.
ABI_INLINE int abi_timerfd_start(int fd, int64_t nanoseconds) {
  if (nanoseconds < 1) nanoseconds = 1;
  struct itimerspec span = {.it_value = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000}};
  return abi_result(timerfd_settime(fd, 0, &span, NULL));
}
/// 1 when `fd` can be read, 0 when `nanoseconds` have passed. Out of line: ppoll is a GNU extension, and a
/// header that Swift imports must not switch those on.
int abi_poll_readable(int fd, int64_t nanoseconds);

// What reading trees of small files (sysfs, proc) needs beyond open, read and close.
ABI_INLINE int64_t abi_readlink(const char *path, char *buffer, uint64_t count) {
  return abi_result64(readlink(path, buffer, count));
}
ABI_INLINE int abi_access(const char *path) { return abi_result(access(path, F_OK)); }
ABI_INLINE int abi_sleep(int64_t nanoseconds) {
  struct timespec span = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
  return abi_result(nanosleep(&span, NULL));
}
/// The length of the path without symbolic links, or -errno; `buffer` holds 4096 bytes (PATH_MAX).
int abi_realpath(const char *path, char *buffer);
/// Claims a block device for an instant, as a mount does: 0, or -EBUSY where someone holds it. A path that
/// is no block device answers 0.
int abi_block_claim(const char *path);
/// Fills `buffer` with entries of an open directory; 0 at its end. Out of line: getdents64 is a GNU extension.
int64_t abi_directory_read(int fd, void *buffer, uint64_t count);
/// The name of the entry at `*offset` of such a buffer, and steps to the next one.
const char *abi_directory_entry(const void *buffer, uint64_t *offset);
/// Writes the addresses of this network namespace's interfaces as lines "NAME HEX\n", IPv4 as 8 and IPv6 as
/// 32 hexadecimal digits; the length that the whole text has, also where `count` is shorter.
int64_t abi_interface_addresses(char *buffer, uint64_t count);
