// SPDX-License-Identifier: Apache-2.0
// What tests of iommufd need from other processes, and from the kernel's fault injection. Answers: >= 0, or -errno.
#pragma once
#include <stdint.h>

/// A child process that waits to be told to end.
struct cmock_child {
  int32_t pid;
  int32_t pipe;
};
/// What a process has pinned and locked, from /proc/self/status.
struct cmock_usage {
  uint64_t pinned_kib;
  uint64_t locked_kib;
};

/// Of this process.
int cmock_usage(struct cmock_usage *usage);
/// Forks a child that adopts the mappings of the context; the answer of its call. `*usage` is the child's afterwards.
int cmock_fork_adopting(int fd, struct cmock_child *child, struct cmock_usage *usage);
/// Forks a child that maps memory of its own, filled with one byte, readable and writable; the answer of its call.
int cmock_fork_mapping(int fd, uint32_t ioas_id, uint64_t iova, uint64_t byte_count, uint8_t byte,
                       struct cmock_child *child);
/// Lets the child end, and waits for it.
int cmock_end_child(struct cmock_child *child);

/// A memory file without seals, of ordinary pages or of huge pages of 2 MiB.
int cmock_memory_file(uint64_t byte_count, int huge);
int cmock_truncate(int fd, uint64_t byte_count);
/// The address of a private mapping of a file, for reading and writing.
int64_t cmock_map_private(int fd, uint64_t byte_count);
/// Takes all access to a part of this process's memory away.
int cmock_forbid(const void *memory, uint64_t byte_count);

/// From now on the C library maps every large block of its own; 1 where it does.
int cmock_map_large_blocks(void);

/// Any command, whatever it says: its number without the type, and its structure.
int cmock_command(int fd, uint32_t number, void *command);
/// A page table for a device in an address space; its id.
int64_t cmock_page_table(int fd, uint32_t device_id, uint32_t ioas_id, uint32_t flags);

/// Writes a file of debugfs, which knows no offsets.
int cmock_write_setting(const char *path, const char *text);
/// The n-th allocation that this thread makes in the kernel from now on fails; `file` is that of
/// /proc/thread-self/fail-nth.
int cmock_fail_nth(int file, uint32_t n);
/// Ends it: how many allocations were still to come, 0 where one failed.
int cmock_end_fail_nth(int file);
