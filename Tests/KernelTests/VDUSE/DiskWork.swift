// SPDX-License-Identifier: Apache-2.0
import CVhostVDPA
import Foundation
import LinuxHandles
import Synchronization
import SystemPackage
import Testing
import VDUSE

/// What a driver does with a served disk, from its coming on: each kind of request once, on a thread of its own, which waits
/// where nobody answers.
final class DiskWork: Sendable {
  /// A step that was refused.
  struct Failure: CustomStringConvertible {
    let step: String
    let errno: CInt
    var description: String { "\(step) (\(errno))" }
  }

  static let byteCount = 1 << 20
  /// What the image has at first.
  static let before = Data(repeating: 0x55, count: byteCount)
  private static let stretch = 64 << 10
  private static let steps = ["write", "write again", "discard", "zero"]
  private static let bytesAfterwards: [UInt8] = [0x41, 0x42, 0, 0]

  private let outcome: Outcome
  private let thread: WriterThread

  private final class Outcome: Sendable {
    let failures = Mutex<[Failure]>([])
    let isOver = Atomic<Bool>(false)
  }

  /// Puts a device onto the bus, and goes on with the disk that it becomes.
  init(_ name: String) throws {
    let outcome = Outcome()
    self.outcome = outcome
    thread = try WriterThread {
      Self.run(name) { step, errno in
        outcome.failures.withLock { $0.append(Failure(step: step, errno: errno)) }
      }
      outcome.isOver.store(true, ordering: .releasing)
    }
  }

  var isOver: Bool { outcome.isOver.load(ordering: .acquiring) }
  var failures: [Failure] { outcome.failures.withLock { $0 } }

  private static func run(_ name: String, _ refuse: (String, CInt) -> Void) {
    func step(_ what: String, _ body: () throws -> Void) {
      do { try body() } catch let failure as KernelDisk.Failure {
        refuse(what, failure.errno)
      } catch let error as KernelError {
        refuse(what, error.errno.rawValue)
      } catch {
        refuse("\(what): \(error)", 0)
      }
    }
    func check(_ result: CInt) throws { if result < 0 { throw KernelDisk.Failure("ioctl", -result) } }
    step("attach") {
      try VDPABus().attach(name)
      try VDPABus().bind(name, to: "virtio_vdpa")
    }
    guard KernelDisk.node(servedAs: name) != nil, let disk = try? KernelDisk(servedAs: name) else {
      refuse("disk", ENODEV)
      return
    }
    step(steps[0]) { try disk.write(Data(repeating: bytesAfterwards[0], count: stretch), at: 0) }
    step("flush") { try disk.flush() }
    step(steps[1]) { try disk.write(Data(repeating: bytesAfterwards[1], count: stretch), at: stretch) }
    step(steps[2]) { try check(block_discard(disk.descriptor, UInt64(2 * stretch), UInt64(stretch))) }
    step(steps[3]) { try check(block_zero(disk.descriptor, UInt64(3 * stretch), UInt64(stretch))) }
    step("flush again") { try disk.flush() }
    step("read") {
      let bytes = try disk.read(stretch, at: 4 * stretch)
      if bytes != before.prefix(stretch) { throw KernelDisk.Failure("comparing", 0) }
    }
  }

  /// What was not refused is in the image, and what was not asked for is not.
  func compare(with path: String) throws {
    let image = try Data(contentsOf: URL(filePath: path))
    let refused = Set(failures.map(\.step))
    guard !refused.contains("disk") else {
      #expect(image == Self.before, "nothing was asked for")
      return
    }
    for (index, step) in Self.steps.enumerated() where !refused.contains(step) {
      let part = image[index * Self.stretch..<(index + 1) * Self.stretch]
      #expect(part.allSatisfy { $0 == Self.bytesAfterwards[index] }, "\(step) is not in the image")
    }
    #expect(image[(4 * Self.stretch)...] == Self.before[(4 * Self.stretch)...])
  }
}
