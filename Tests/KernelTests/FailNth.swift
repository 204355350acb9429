// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import DMACore
import Glibc
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

/// The kernel's own fault injection: the n-th allocation that a thread makes in the kernel fails.
///
/// A body is run with n = 1, 2, … until no allocation of its steps fails any more. Only steps are counted, so that
/// what this program allocates for itself never fails.
final class FailNth {
  private let file: OwnedDescriptor
  private var rest: UInt32 = 0
  private(set) var isOver = false

  init() throws {
    file = try .open("/proc/thread-self/fail-nth", for: .readWrite)
    // Allocations that may wait fail as well, and none of it is told on the console.
    for folder in ["failslab", "fail_page_alloc", "fail_iommufd"] {
      try Self.write("0", to: "/sys/kernel/debug/\(folder)/verbose")
      if folder != "fail_iommufd" { try Self.write("N", to: "/sys/kernel/debug/\(folder)/ignore-gfp-wait") }
    }
  }

  private static func write(_ text: String, to path: String) throws {
    try kernelCall("write", on: path) { unsafe cmock_write_setting(path, text) }
  }

  /// One step: its allocations are counted, and the one whose turn it is fails.
  func step<Result>(_ body: () throws(KernelError) -> Result) throws(KernelError) -> Result {
    try arm()
    defer { disarm() }
    return try body()
  }

  /// The same for an access, which cannot be copied.
  func step(access body: () throws(KernelError) -> MockAccess) throws(KernelError) -> MockAccess {
    try arm()
    defer { disarm() }
    return try body()
  }

  private func arm() throws(KernelError) {
    guard rest > 0 else { return }
    let (fd, n) = (file.rawValue, rest)
    try kernelCall("fail-nth") { cmock_fail_nth(fd, n) }
  }

  private func disarm() {
    if rest > 0 { rest = UInt32(max(0, cmock_end_fail_nth(file.rawValue))) }
  }

  /// Runs a body until it passes, and looks for what a failure left behind.
  /// - Returns: How many allocations failed.
  @discardableResult
  static func sweep(_ body: (FailNth) throws -> Void) throws -> UInt32 {
    let complaints = try kernelComplaints()
    let leaks = LeakCheck { $0.hasPrefix("/dev/iommu") || $0.contains("iommufd") || $0.contains("memfd") }
    for n in UInt32(1)... {
      let failNth = try FailNth()
      failNth.rest = n
      do {
        try body(failNth)
        if failNth.rest > 0 {
          // A leak stays: whichever failure left something behind, it is found now.
          try leaks.verify()
          #expect(try kernelComplaints() == complaints, "the kernel complained; see its log")
          return n - 1
        }
        // The kernel found another way.
      } catch let error as KernelError {
        try #require(failNth.rest == 0, "\(error) of itself, with \(failNth.rest) of \(n) to come")
      }
      try #require(n < 2000, "it never passes")
    }
    return 0
  }

  /// Whether the kernel warned of itself since it started.
  private static func kernelComplaints() throws -> UInt64 {
    let text = try TextFile.contents(of: "/proc/sys/kernel/tainted")
    return try #require(UInt64(text.filter(\.isNumber))) & 1 << 9
  }
}
