// SPDX-License-Identifier: Apache-2.0
#include "CTestSupport.h"

void ctest_fill_words(uint64_t *words, uint64_t count, uint64_t *seed) {
  uint64_t word = *seed;
  for (uint64_t index = 0; index < count; index++) {
    word = word * 6364136223846793005u + 1442695040888963407u;
    words[index] = word;
  }
  *seed = word;
}

uint64_t ctest_add_words(const uint64_t *words, uint64_t count, uint64_t sum) {
  for (uint64_t index = 0; index < count; index++) sum = (sum ^ words[index]) * 0x100000001b3u;
  return sum;
}
