// SPDX-License-Identifier: Apache-2.0
// Mappings of device memory that survive the device: what a process loads from a mapping whose device was reset,
// switched off or taken away is all ones, and what it stores goes nowhere, instead of SIGBUS ending it.
//
// The accesses themselves stay single instructions of the compiler's choice. A page that cannot be reached raises
// SIGBUS; the handler puts a page of ones that cannot be written in its place and lets the instruction run again.
// A store then raises SIGSEGV and is stepped over; one in a form that the handler does not know gets a page of
// its own to go to. Whoever owns the mapping asks what happened and maps the file anew.
//
// Kept for the whole process, since signals are: a list of guards, whose memory is used again and never freed; one
// page of ones; for each of the two signals whoever handled it before, who is handed all that concerns no guard.
#pragma once
#include <stdint.h>

/// One guarded mapping.
struct cmmio_guard;

/// Guards the mapping of `byteCount` bytes (whole pages) at `base`; the first guard installs the handler of SIGBUS.
/// The owner closes the guard before it unmaps. 0, or -errno.
int cmmio_guard_open(void *base, uint64_t byteCount, struct cmmio_guard **guard);
void cmmio_guard_close(struct cmmio_guard *guard);
/// 1 where pages could not be reached since the last call, with the place of the first such access, in bytes; else 0.
/// Those pages stay replaced until the owner maps the file over them.
int cmmio_guard_take(struct cmmio_guard *guard, uint64_t *offset);
/// Undoes cmmio_guard_take: what it answered is to be answered again, because the file could not be mapped.
void cmmio_guard_put_back(struct cmmio_guard *guard, uint64_t offset);
