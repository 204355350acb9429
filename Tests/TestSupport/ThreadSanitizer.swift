// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// Whether ThreadSanitizer watches this process.
///
/// It sees the accesses of the two sides of a ring, and not the barriers that order them; and of Swift's `Mutex` it is told
/// in the tests' own process alone (CTestSupport), not in the programs that they start.
public let isThreadSanitized = unsafe dlsym(nil, "__tsan_init") != nil
