// SPDX-License-Identifier: Apache-2.0
#include "CTwins.h"

// Not empty for the compiler, so that no call of them is dropped and they are not made one function.
__attribute__((noinline)) void twin_measurement_begins(void) { __asm__ volatile("# begins"); }
__attribute__((noinline)) void twin_measurement_ends(void) { __asm__ volatile("# ends"); }
