// SPDX-License-Identifier: Apache-2.0
// Volatile accesses to memory that a device reads or writes, and the barriers around them.
//
// Swift has no volatile access that a driver may rely on: plain loads and stores are merged, narrowed
// and deleted by the optimiser. Each function here is exactly one access of exactly its width.
#pragma once
#include <stdint.h>

#include "cmmio_guard.h"

#define CMMIO_INLINE static inline __attribute__((always_inline, swift_attr("@_noLocks")))

CMMIO_INLINE uint8_t cmmio_read8(const void *address) { return *(const volatile uint8_t *)address; }
CMMIO_INLINE uint16_t cmmio_read16(const void *address) { return *(const volatile uint16_t *)address; }
CMMIO_INLINE uint32_t cmmio_read32(const void *address) { return *(const volatile uint32_t *)address; }
CMMIO_INLINE uint64_t cmmio_read64(const void *address) { return *(const volatile uint64_t *)address; }

CMMIO_INLINE void cmmio_write8(void *address, uint8_t value) { *(volatile uint8_t *)address = value; }
CMMIO_INLINE void cmmio_write16(void *address, uint16_t value) { *(volatile uint16_t *)address = value; }
CMMIO_INLINE void cmmio_write32(void *address, uint32_t value) { *(volatile uint32_t *)address = value; }
CMMIO_INLINE void cmmio_write64(void *address, uint64_t value) { *(volatile uint64_t *)address = value; }

// Barriers between memory shared with a device and its registers. On x86-64 stores to write-back memory
// and to uncached registers are seen in program order, so the compiler alone must be held; on aarch64 a
// device sits in the outer shareable domain, which Swift's atomic fences (inner shareable) do not reach.
#if defined(__x86_64__)
CMMIO_INLINE void cmmio_write_barrier(void) { __asm__ volatile("" ::: "memory"); }
CMMIO_INLINE void cmmio_read_barrier(void) { __asm__ volatile("" ::: "memory"); }
CMMIO_INLINE void cmmio_full_barrier(void) { __asm__ volatile("mfence" ::: "memory"); }
#elif defined(__aarch64__)
CMMIO_INLINE void cmmio_write_barrier(void) { __asm__ volatile("dmb oshst" ::: "memory"); }
CMMIO_INLINE void cmmio_read_barrier(void) { __asm__ volatile("dmb oshld" ::: "memory"); }
CMMIO_INLINE void cmmio_full_barrier(void) { __asm__ volatile("dmb osh" ::: "memory"); }
#else
#error "swift-vfio supports x86-64 and aarch64"
#endif
