// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE 1
#include "guard_stores.h"

#include <stdint.h>
#include <ucontext.h>

#if defined(__x86_64__)

/// How long the operand of a ModRM byte is, the byte itself included. Source: Intel SDM volume 2, 2.1.5 and 2.2.1.
static unsigned operand_length(const uint8_t *modrm) {
  unsigned mod = modrm[0] >> 6, place = modrm[0] & 7, length = 1;
  if (place == 4) {  // a scale-index-base byte follows
    length++;
    if (mod == 0 && (modrm[1] & 7) == 5) length += 4;
  } else if (mod == 0 && place == 5) {  // relative to the program counter
    length += 4;
  }
  return length + (mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

/// The length of a store of a register or a constant, or 0.
static unsigned store_length(const uint8_t *code) {
  const uint8_t *at = code;
  int is_short = 0;  // 16-bit operand
  if (*at == 0x66) {
    is_short = 1;
    at++;
  }
  if ((*at & 0xf0) == 0x40) at++;  // REX
  unsigned constant;
  switch (*at++) {
    case 0x88:  // mov r8 to memory
    case 0x89:  // mov r16, r32, r64 to memory
      constant = 0;
      break;
    case 0xc6:  // mov constant of 8 bits
      constant = 1;
      break;
    case 0xc7:  // mov constant of 16 or 32 bits
      constant = is_short ? 2 : 4;
      break;
    case 0x0f:
      if (*at++ != 0xc3) return 0;  // movnti
      constant = 0;
      break;
    default:
      return 0;
  }
  if (at[0] >> 6 == 3) return 0;  // a register is no memory
  return (unsigned)(at - code) + operand_length(at) + constant;
}

int cmmio_step_over_store(void *context) {
  greg_t *counter = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
  unsigned length = store_length((const uint8_t *)*counter);
  *counter += length;
  return length != 0;
}

#elif defined(__aarch64__)

int cmmio_step_over_store(void *context) {
  mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
  uint32_t code = *(const uint32_t *)machine->pc;
  // STR of a general register: unsigned offset, unscaled offset or register offset; the forms that change their
  // base register are left out. Source: Arm ARM, C4.1.94, "Loads and Stores".
  int is_store = (code & 0x3fc00000) == 0x39000000 || (code & 0x3fe00c00) == 0x38000000 ||
                 (code & 0x3fe00c00) == 0x38200800;
  if (is_store) machine->pc += 4;
  return is_store;
}

#endif
