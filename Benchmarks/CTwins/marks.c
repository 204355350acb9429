// SPDX-License-Identifier: Apache-2.0
#include "CTwins.h"

// Different for compiler and linker, so that no call of them is dropped and they are not folded into one.
static volatile int mark;
__attribute__((noinline)) void twin_measurement_begins(void) { mark = 1; }
__attribute__((noinline)) void twin_measurement_ends(void) { mark = 0; }
