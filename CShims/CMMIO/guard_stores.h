// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Moves the program counter of an interrupted thread behind the store that it stands at. 0 where the instruction
/// has none of the forms in which compilers store a scalar; nothing is changed then.
int cmmio_step_over_store(void *context);
