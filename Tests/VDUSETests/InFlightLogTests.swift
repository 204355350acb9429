// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import SystemPackage
import Testing
import VDUSE

@Suite struct InFlightLogTests {
  private let path = FileManager.default.temporaryDirectory.appending(path: "inflight-\(UUID().uuidString)")
    .path()

  @Test func whatWasNotedIsThereForTheNextServer() throws {
    defer { unsafe unlink(path) }
    let entry = InFlightLog.Entry(place: 0xffff, id: 0x1234, slotCount: 9, writtenByteCount: 0x7fff_ffff)
    do {
      let log = try InFlightLog(path: path, queueCount: 70, queueSize: 100, isFresh: true)
      #expect(log.entry(at: 0xffff, ofQueue: 69) == nil && log.status.isEmpty && log.deviceID == nil)
      log.deviceID = .fileSystem
      log.note(entry, ofQueue: 69)
      log.status = [.driverOK]
    }
    let next = try InFlightLog(path: path, queueCount: 70, queueSize: 100, isFresh: false)
    #expect(
      next.entry(at: 0xffff, ofQueue: 69) == entry && next.entry(at: 0xffff, ofQueue: 68) == nil
        && next.status == .driverOK && next.deviceID == .fileSystem)
    next.note(.init(place: 0, id: 0, writtenByteCount: 0), ofQueue: 0)
    #expect(
      next.entry(at: 0, ofQueue: 0) == .init(place: 0, id: 0, writtenByteCount: 0), "zeroes are something")
    next.clear(queue: 69)
    #expect(next.entry(at: 0xffff, ofQueue: 69) == nil)
    let fresh = try InFlightLog(path: path, queueCount: 1, queueSize: 4, isFresh: true)
    #expect(fresh.entry(at: 0, ofQueue: 0) == nil && fresh.status.isEmpty, "of a device that is gone")
  }

  @Test func aStrangersFileIsRefused() throws {
    defer { unsafe unlink(path) }
    try Data(repeating: 0x41, count: 4096).write(to: URL(fileURLWithPath: path))
    let error = #expect(throws: KernelError.self) {
      try InFlightLog(path: path, queueCount: 1, queueSize: 4, isFresh: false)
    }
    #expect(error?.errno == .invalidArgument)
    _ = try InFlightLog(path: path, queueCount: 1, queueSize: 4, isFresh: true)
    #expect(throws: KernelError.self) {
      try InFlightLog(path: path, queueCount: 2, queueSize: 4, isFresh: false)
    }
  }
}
