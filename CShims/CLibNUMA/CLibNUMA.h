// SPDX-License-Identifier: Apache-2.0
// Memory and where it is placed: libnuma, and the calls for memory files that it needs no library for.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <numa.h>
#include <numaif.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/// Asks for the nodes of `count` pages, `stride` bytes apart; -ENOENT for a page that is not there yet.
/// 0 or -errno.
static inline int clibnuma_nodes_of_pages(char *address, unsigned long stride, int count, int *nodes) {
  enum { batch = 256 };
  void *pages[batch];
  for (int done = 0; done < count; done += batch) {
    int now = count - done < batch ? count - done : batch;
    for (int page = 0; page < now; page++) pages[page] = address + (unsigned long)(done + page) * stride;
    if (numa_move_pages(0, (unsigned long)now, pages, 0, nodes + done, 0) < 0) return -errno;
  }
  return 0;
}

/// Binds the pages of a range to one node; 0 or -errno.
static inline int clibnuma_bind(void *address, unsigned long byteCount, int node) {
  if (node < 0 || node > numa_max_possible_node()) return -EINVAL;
  struct bitmask *nodes = numa_allocate_nodemask();
  if (!nodes) return -ENOMEM;
  numa_bitmask_setbit(nodes, (unsigned)node);
  long result = mbind(address, byteCount, MPOL_BIND, nodes->maskp, nodes->size + 1, 0);
  int saved = errno;
  numa_free_nodemask(nodes);
  return result < 0 ? -saved : 0;
}

/// A memory file without a name in any directory, closed on exec, that takes seals; its descriptor or -errno.
/// `hugePageSizeLog2` is 0 for ordinary pages. Source: memfd_create(2), Linux 3.17; huge pages since 4.14.
static inline int clibnuma_memory_file(const char *name, int hugePageSizeLog2) {
  unsigned flags = 1u | 2u;  // MFD_CLOEXEC | MFD_ALLOW_SEALING
  if (hugePageSizeLog2) flags |= 4u | (unsigned)hugePageSizeLog2 << 26;  // MFD_HUGETLB, MFD_HUGE_SHIFT
  long fd = syscall(SYS_memfd_create, name, flags);
  return fd < 0 ? -errno : (int)fd;
}
static inline int clibnuma_set_file_size(int fd, long byteCount) { return ftruncate(fd, byteCount) < 0 ? -errno : 0; }
/// No process can make the file shorter or longer any more (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW).
static inline int clibnuma_seal_file_size(int fd) { return fcntl(fd, 1033 /* F_ADD_SEALS */, 7) < 0 ? -errno : 0; }

/// Makes all pages of a range present for writing; 0 or -errno.
/// Before Linux 5.14 each page is touched, which keeps its content.
static inline int clibnuma_populate(char *address, unsigned long byteCount) {
  int result;
  do
    result = madvise(address, byteCount, 23 /* MADV_POPULATE_WRITE */);
  while (result < 0 && errno == EINTR);
  if (result == 0) return 0;
  if (errno != EINVAL) return -errno;
  for (unsigned long place = 0; place < byteCount; place += 4096) {
    volatile char *byte = address + place;
    *byte = *byte;
  }
  return 0;
}
