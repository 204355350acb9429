// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import LinuxHandles
import Synchronization
import SystemPackage
import Testing

/// A backing that answers each place with its offset, and fails from a place on.
private final class EchoBacking: RegisterBacking {
  private let state = Mutex<(stores: [String], fault: KernelError?)>(([], nil))
  let firstBadOffset: Int

  init(failingFrom firstBadOffset: Int = .max) { self.firstBadOffset = firstBadOffset }

  var stores: [String] { state.withLock { $0.stores } }

  private func check(_ byteOffset: Int) throws(KernelError) {
    guard byteOffset < firstBadOffset else {
      throw KernelError(operation: "pread", errno: .ioError, subject: "\(byteOffset)")
    }
  }
  func load(at byteOffset: Int, byteWidth: Int) throws(KernelError) -> UInt64 {
    try check(byteOffset)
    return UInt64(byteOffset) << 8 | UInt64(byteWidth)
  }
  func store(_ value: UInt64, at byteOffset: Int, byteWidth: Int) throws(KernelError) {
    try check(byteOffset)
    state.withLock { $0.stores.append("\(value) \(byteOffset) \(byteWidth)") }
  }
  func takeFault() -> KernelError? {
    state.withLock { state in
      defer { state.fault = nil }
      return state.fault
    }
  }
  func recordFault(_ error: KernelError) { state.withLock { if $0.fault == nil { $0.fault = error } } }
}

/// 64 bytes of memory that stand for a mapped BAR, as bytes 16 to 79 of a window of 128.
private final class MemoryBacking: RegisterBacking {
  let memory: MappedMemory
  let rest = EchoBacking()
  init() throws { memory = try MappedMemory.anonymous(byteCount: 4096) }
  func window() -> RegisterWindow {
    unsafe RegisterWindow(byteCount: 128, mappedBase: memory.baseAddress, mappedRange: 16..<80, backing: self)
  }
  func byte(_ index: Int) -> UInt8 { unsafe memory.baseAddress.load(fromByteOffset: index, as: UInt8.self) }
  func load(at byteOffset: Int, byteWidth: Int) throws(KernelError) -> UInt64 {
    try rest.load(at: byteOffset, byteWidth: byteWidth)
  }
  func store(_ value: UInt64, at byteOffset: Int, byteWidth: Int) throws(KernelError) {
    try rest.store(value, at: byteOffset, byteWidth: byteWidth)
  }
  func takeFault() -> KernelError? { nil }
  func recordFault(_ error: KernelError) {}
}

@Suite struct RegisterWindowTests {
  @Test func theMappedPartIsReachedDirectlyAndTheRestIsNot() throws {
    let backing = try MemoryBacking()
    let window = backing.window()
    #expect(window.mappedByteOffset == 16 && window.mappedByteCount == 64)
    window.store(UInt64(0x8877_6655_4433_2211), at: 16)
    window.store(UInt8(0xff), at: 79)
    #expect(backing.byte(0) == 0x11 && backing.byte(7) == 0x88 && backing.byte(63) == 0xff)
    let word = window.load(UInt16.self, at: 18)
    #expect(word == 0x4433)
    #expect(backing.rest.stores.isEmpty)
    let (before, after) = (window.load(UInt64.self, at: 8), window.load(UInt16.self, at: 80))
    #expect(before == 0x0808 && after == 0x5002)
    window.store(UInt32(7), at: 80)
    window.store(UInt8(9), at: 15)
    #expect(backing.rest.stores == ["7 80 4", "9 15 1"])
    #expect(backing.byte(64) == 0)
  }

  @Test func registersHaveTheirWidth() throws {
    let backing = try MemoryBacking()
    let window = backing.window()
    window.write(0xaabb, to: Register16(byteOffset: 18, access: .readWrite))
    #expect((0..<4).map { backing.byte($0) } == [0, 0, 0xbb, 0xaa])
    let value = window.read(Register32(byteOffset: 16, access: .readOnly))
    #expect(value == 0xaabb_0000)
  }

  @Test func aFaultReadsAsAllOnesAndWaits() throws {
    let backing = EchoBacking(failingFrom: 32)
    let window = RegisterWindow(byteCount: 64, backing: backing)
    let good = window.load(UInt32.self, at: 28)
    #expect(good == 28 << 8 | 4)
    let none = window.takeFault()
    #expect(none == nil)
    let (wide, narrow) = (window.load(UInt64.self, at: 32), window.load(UInt8.self, at: 40))
    #expect(wide == .max && narrow == .max)
    window.store(UInt8(1), at: 48)
    let first = window.takeFault()
    #expect(first?.subject == "32")
    let second = window.takeFault()
    #expect(second == nil)
  }

  @Test func aWholeMappingBecomesAMappedWindow() throws {
    let backing = try MemoryBacking()
    let whole = unsafe RegisterWindow(
      byteCount: 64, mappedBase: backing.memory.baseAddress, mappedRange: 0..<64, backing: backing)
    switch whole.mapped() {
    case .mapped(let window):
      window.write(5, to: Register64(byteOffset: 56, access: .readWrite))
      let value = window.read(Register8(byteOffset: 56, access: .readWrite))
      #expect(value == 5 && window.byteCount == 64)
    case .notMapped: Issue.record("all of it is mapped")
    }
    switch backing.window().mapped() {
    case .mapped: Issue.record("a part is not mapped")
    case .notMapped(let window): #expect(window.byteCount == 128)
    }
  }

  @Test func aWindowKeepsItsBacking() throws {
    weak var backing: EchoBacking?
    do {
      let window: RegisterWindow
      do {
        let made = EchoBacking()
        backing = made
        window = RegisterWindow(byteCount: 64, backing: made)
      }
      #expect(backing != nil)
      _ = window.load(UInt8.self, at: 0)
    }
    #expect(backing == nil)
  }

  @Test func placesOutsideAreACallersError() async {
    await #expect(processExitsWith: .failure) {
      _ = RegisterWindow(byteCount: 64, backing: EchoBacking()).load(UInt32.self, at: 64)
    }
    await #expect(processExitsWith: .failure) {
      _ = RegisterWindow(byteCount: 62, backing: EchoBacking()).load(UInt32.self, at: 60)
    }
    await #expect(processExitsWith: .failure) {
      _ = RegisterWindow(byteCount: 64, backing: EchoBacking()).load(UInt32.self, at: 2)
    }
    await #expect(processExitsWith: .failure) {
      _ = RegisterWindow(byteCount: 64, backing: EchoBacking()).load(UInt32.self, at: -4)
    }
    // Misaligned, in the mapped part.
    await #expect(processExitsWith: .failure) { _ = try MemoryBacking().window().load(UInt32.self, at: 18) }
    await #expect(processExitsWith: .failure) { _ = Register32(byteOffset: 2, access: .readOnly) }
    await #expect(processExitsWith: .success) {
      _ = RegisterWindow(byteCount: 64, backing: EchoBacking()).load(UInt32.self, at: 60)
    }
  }

  #if DEBUG
    @Test func accessIsCheckedInDebugBuilds() async {
      await #expect(processExitsWith: .failure) {
        let window = RegisterWindow(byteCount: 64, backing: EchoBacking())
        window.write(1, to: Register32(byteOffset: 0, access: .readOnly))
      }
      await #expect(processExitsWith: .failure) {
        let window = RegisterWindow(byteCount: 64, backing: EchoBacking())
        _ = window.read(Register32(byteOffset: 0, access: .clearOnRead))
      }
    }
  #endif
}
