// SPDX-License-Identifier: Apache-2.0
// The program of the fuzzer. Its main is libFuzzer's, and what that calls is of the module RingFuzz; this file is there
// because a target has one.
#include <stddef.h>
#include <stdint.h>

extern int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);
/// So that the linker takes the module.
int (*const ring_fuzz_entry)(const uint8_t *, size_t) = LLVMFuzzerTestOneInput;
