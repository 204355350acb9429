// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import Foundation
import LinuxHandles
import Synchronization
import SystemPackage
import Testing

/// Registers are taken away while a window of them is in use.
@Suite struct WindowGuardTests {
  @Test func loadsGiveAllOnesAndStoresGoNowhere() throws {
    let file = try RevocableFile()
    let window = try file.dmaBuf().window()
    window.store(UInt32(0x1234), at: 8)
    #expect(file[8] == 0x1234 && window.load(UInt32.self, at: 8) == 0x1234)
    file.revoke()
    #expect(window.load(UInt8.self, at: 8) == 0xff)
    #expect(window.load(UInt16.self, at: 8) == 0xffff)
    #expect(window.load(UInt32.self, at: 8) == 0xffff_ffff)
    #expect(window.load(UInt64.self, at: 8) == .max)
    // A store after a load, and a store that is the first access to its page.
    for place in [8, 4096 + 16] {
      window.store(UInt8(0), at: place)
      window.store(UInt16(0), at: place)
      window.store(UInt32(0), at: place)
      window.store(UInt64(0), at: place)
      #expect(window.load(UInt64.self, at: place) == .max)
    }
    let fault = window.takeFault()
    #expect(fault?.isRevokedAccess == true && fault?.subject == "dma-buf at 8", "\(fault?.description ?? "")")
  }

  @Test func storesOfValuesThatAreNotConstantsGoNowhere() throws {
    let file = try RevocableFile()
    let window = try file.dmaBuf().window()
    file.revoke()
    for value in UInt64(0)..<64 {
      let place = Int(value) * 64
      window.store(UInt8(truncatingIfNeeded: value), at: place + Int(value & 7))
      window.store(UInt16(truncatingIfNeeded: value), at: place + 8)
      window.store(UInt32(truncatingIfNeeded: value), at: place + 16)
      window.store(value, at: place + 24)
      for word in 0..<4 { #expect(window.load(UInt64.self, at: place + word * 8) == .max) }
    }
    #expect(window.takeFault() != nil)
  }

  @Test func itComesBackWhenTheRegistersDo() throws {
    let file = try RevocableFile()
    let window = try file.dmaBuf().window()
    for round in UInt32(1)...3 {
      file.revoke()
      #expect(window.load(UInt32.self, at: 4096) == .max)
      #expect(window.takeFault()?.subject == "dma-buf at 4096")
      #expect(window.takeFault() == nil, "nothing was accessed since")
      #expect(window.load(UInt32.self, at: 4096) == .max)
      #expect(window.takeFault() != nil, "and they are still away")
      file.give()
      window.store(round, at: 4096)
      #expect(window.load(UInt32.self, at: 4096) == round && file[4096] == round)
      #expect(window.takeFault() == nil)
    }
  }

  @Test func aHotWindowIsGuardedToo() throws {
    let file = try RevocableFile()
    guard case .mapped(let window) = try file.dmaBuf().window().mapped() else {
      Issue.record("a dma-buf's window is mapped as a whole")
      return
    }
    let register = Register32(byteOffset: 4, access: .readWrite)
    file.revoke()
    window.write(5, to: register)
    #expect(window.read(register) == .max)
    #expect(window.takeFault()?.isRevokedAccess == true)
  }

  @Test func onePartsRevocationIsNotAnothers() throws {
    let (revoked, healthy) = (try RevocableFile(), try RevocableFile())
    let lost = try revoked.dmaBuf().window()
    let kept = try healthy.dmaBuf().window()
    revoked.revoke()
    kept.store(UInt32(3), at: 0)
    #expect(lost.load(UInt32.self, at: 0) == .max && kept.load(UInt32.self, at: 0) == 3)
    #expect(kept.takeFault() == nil && lost.takeFault() != nil)
  }

  /// Whoever copies bulk data into a window uses instructions that no register access is made of.
  @Test func anUnknownStoreEndsNoProcess() throws {
    let file = try RevocableFile()
    let memory = try MappedMemory.sharing(file.file, offset: 0, byteCount: 8192)
    let guarding = try WindowGuard(of: memory)
    file.revoke()
    unsafe memory.baseAddress.copyMemory(from: [UInt64](repeating: 7, count: 256), byteCount: 2048)
    let word = unsafe memory.baseAddress.load(fromByteOffset: 4096, as: UInt32.self)
    #expect(word == .max)
    _ = consume guarding
  }

  @Test func manyThreadsLoseManyWindowsAtOnce() throws {
    let threads = try (0..<4).map { _ in try GuardThread.hammering() }
    for thread in threads { #expect(try thread.ends()) }
  }

  @Test func threadsLoseOneWindowTogether() throws {
    let file = try RevocableFile()
    let shared = SharedWindow(try file.dmaBuf().window())
    let readers = try (1...4).map { try GuardThread.reading(shared, storingAt: $0 * 8) }
    for _ in 0..<200 {
      file.revoke()
      usleep(100)
      _ = shared.window.takeFault()
      file.give()
      _ = shared.window.takeFault()
    }
    shared.isOver.store(true, ordering: .releasing)
    for reader in readers { #expect(try reader.ends()) }
    _ = shared.window.takeFault()
    #expect(shared.window.load(UInt32.self, at: 0) == 0, "alive in the end")
  }

  /// A fault that is told while another one happens is told once, and neither without its place.
  @Test func faultsAreTakenWhileOthersHappen() throws {
    let file = try RevocableFile(pageCount: 8)
    let shared = SharedWindow(try file.dmaBuf().window())
    file.revoke()
    let readers = try (0..<4).map { try GuardThread.losing(shared, at: $0 * 8192) }
    var places: Set<String> = []
    var taken = 0
    while taken < 1000 {
      guard let fault = shared.window.takeFault() else { continue }
      places.insert(fault.subject)
      taken += 1
    }
    shared.isOver.store(true, ordering: .releasing)
    for reader in readers { #expect(try reader.ends()) }
    #expect(!places.isEmpty && places.isSubset(of: (0..<4).map { "dma-buf at \($0 * 8192)" }), "\(places)")
  }
}
