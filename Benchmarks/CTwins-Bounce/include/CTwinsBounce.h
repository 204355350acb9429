// SPDX-License-Identifier: Apache-2.0
// What a bounce buffer cannot be faster than: the bare copies.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// Copies `byte_count` bytes `count` times from the buffers of `source`, which lie one after the other, in turn, to the
/// same place; a sum that depends on what was copied.
uint64_t twin_copy_to_device(uint8_t *target, const uint8_t *source, size_t byte_count, uint32_t buffer_count,
                             uint32_t count);
/// The other way.
uint64_t twin_copy_from_device(uint8_t *target, const uint8_t *source, size_t byte_count, uint32_t buffer_count,
                               uint32_t count);
