// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// Whether ThreadSanitizer watches this process.
///
/// It sees the accesses of the two sides of a ring, and not the barriers that order them.
public let isThreadSanitized = unsafe dlsym(nil, "__tsan_init") != nil
