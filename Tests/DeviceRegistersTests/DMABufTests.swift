// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import Foundation
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

/// What a process makes of a descriptor that it was given; a file stands for the dma-buf.
@Suite struct DMABufTests {
  @Test(arguments: [
    [], [0..<0], [0..<4095], [1..<4097], [0..<16384], [-4096..<4096], [4096..<8192, 8192..<8192],
    Array(repeating: 0..<4096, count: RegisterRanges.most + 1),
  ])
  func badRangesAreRefused(_ ranges: [Range<Int>]) {
    let error = #expect(throws: KernelError.self) {
      _ = try RegisterRanges(ranges, within: 12288, of: "BAR 0")
    }
    #expect(error?.errno == .invalidArgument && error?.subject.hasPrefix("BAR 0") == true)
  }

  @Test func rangesAreCountedTogether() throws {
    let all = try RegisterRanges([8192..<12288, 0..<4096, 0..<8192], within: 12288, of: "BAR 0")
    #expect(all.byteCount == 16384 && all.ranges.count == 3)
  }

  @Test func aPartOfTheFileIsAWindow() throws {
    let file = try RevocableFile(pageCount: 3)
    file[4096] = 0x11
    file[8192 + 12] = 0x22
    let dmaBuf = try file.dmaBuf()
    #expect(dmaBuf.byteCount == 12288)
    #expect(try dmaBuf.mappability == .mappable)
    let window = try dmaBuf.window(4096..<12288)
    try dmaBuf.close()
    #expect(window.byteCount == 8192 && window.mappedByteCount == 8192)
    #expect(window.load(UInt32.self, at: 0) == 0x11 && window.load(UInt32.self, at: 4096 + 12) == 0x22)
    window.store(UInt32(0x33), at: 0)
    #expect(file[4096] == 0x33)
  }

  @Test(arguments: [0..<16384, 4096..<4096, 1..<4097, -4096..<0])
  func aWindowBeyondTheFileIsRefused(_ bytes: Range<Int>) throws {
    let dmaBuf = try RevocableFile(pageCount: 3).dmaBuf()
    let error = #expect(throws: KernelError.self) { _ = try dmaBuf.window(bytes) }
    #expect(error?.errno == .invalidArgument)
  }

  @Test func otherFilesAreRefused() throws {
    let pipe = #expect(throws: KernelError.self) {
      let pair = try LocalSocketPair()
      _ = try DMABuf(adopting: pair.near.intoDescriptor())
    }
    #expect(pipe?.operation == "lseek" && pipe?.errno == .illegalSeek)
    let file = try RevocableFile()
    try #require(ftruncate(file.file.rawValue, 5000) == 0)
    let odd = #expect(throws: KernelError.self) { _ = try file.dmaBuf() }
    #expect(odd?.errno == .invalidArgument)
  }

  /// As a dma-buf on a kernel that does not map it: /dev/iommu and the like have no mmap; an eventfd has none.
  @Test func aFileThatCannotBeMappedLeavesTheBroker() throws {
    let unmappable = try RevocableFile()
    let readOnly = try OwnedDescriptor.open("/proc/self/fd/\(unmappable.file.rawValue)", for: .read)
    let dmaBuf = try DMABuf(adopting: readOnly)
    let error = #expect(throws: KernelError.self) { _ = try dmaBuf.mappability }
    #expect(error?.errno == .permissionDenied, "another refusal is not taken for an answer")
  }

  @Test func aGrantGoesToAnotherProcess() throws {
    let file = try RevocableFile()
    let pair = try LocalSocketPair()
    try RegisterDelegation(file.dmaBuf()).grant().send(over: pair.near)
    let grant = try RegisterGrant.receive(from: pair.far)
    #expect(grant.mappability == .mappable && grant.byteCount == 8192)
    let window = try grant.window()
    window.store(UInt32(0x55), at: 4)
    #expect(file[4] == 0x55)
  }

  /// The sender says one length and sends a file of another: the file's counts.
  @Test func aGrantIsNotBelieved() throws {
    let file = try RevocableFile()
    let pair = try LocalSocketPair()
    func send(_ words: [UInt64], _ hasDescriptor: Bool) throws {
      var descriptors = DescriptorList()
      if hasDescriptor { descriptors.append(try file.file.duplicate()) }
      try pair.near.send(SocketMessage(words: words, descriptors: descriptors))
    }
    let mark: UInt64 = 0x7265_7473_6967_6572
    try send([mark, 1, 1 << 40], true)
    let window = try RegisterGrant.receive(from: pair.far).window()
    #expect(window.byteCount == 8192)
    for words in [
      [mark, 1], [mark, 3, 8192], [mark + 1, 1, 8192], [mark, 1, 0], [mark, 1, 1 << 63],
    ] as [[UInt64]] {
      try send(words, true)
      let error = #expect(throws: KernelError.self) { _ = try RegisterGrant.receive(from: pair.far) }
      #expect(error?.errno == .badMessage)
    }
    try send([mark, 1, 8192], false)
    let none = #expect(throws: KernelError.self) { _ = try RegisterGrant.receive(from: pair.far) }
    #expect(none?.errno == .badMessage)
    try send([mark, 1, 8192, 0], true)
    let long = #expect(throws: KernelError.self) { _ = try RegisterGrant.receive(from: pair.far) }
    #expect(long?.errno == .messageTooLong)
    pair.near.shutDown()
    let gone = #expect(throws: KernelError.self) { _ = try RegisterGrant.receive(from: pair.far) }
    #expect(gone?.errno == .connectionReset)
  }

  #if DEBUG
    @Test func everyCallMayFail() throws {
      let file = try RevocableFile()
      let swept = try faultSweep(concerning: { $0.hasPrefix(file.path) }) { plan in
        do {
          try FaultPlan.$current.withValue(plan) {
            let dmaBuf = try file.dmaBuf()
            _ = try dmaBuf.mappability
            let window = try dmaBuf.window()
            file.revoke()
            _ = window.load(UInt32.self, at: 0)
            #expect(window.takeFault() != nil)
            file.give()
            let delegation = RegisterDelegation(dmaBuf)
            let pair = try LocalSocketPair()
            try delegation.grant().send(over: pair.near)
            _ = try RegisterGrant.receive(from: pair.far).window()
          }
        } catch let error as KernelError {
          #expect(error.errno == .ioError && plan.wasReached, "\(error)")
        }
        file.give()
      }
      #expect(swept >= 15, "\(swept) calls")
    }

    /// Registers that cannot be mapped anew stay revoked, however often one asks.
    @Test func aWindowThatCannotComeBackSaysSoEachTime() throws {
      let file = try RevocableFile()
      let window = try file.dmaBuf().window()
      file.revoke()
      _ = window.load(UInt32.self, at: 0)
      file.give()
      for _ in 0..<3 {
        let fault = FaultPlan.$current.withValue(FaultPlan(atCall: 1)) { window.takeFault() }
        #expect(fault?.isRevokedAccess == true)
        #expect(window.load(UInt32.self, at: 0) == .max)
      }
      #expect(window.takeFault() != nil && window.load(UInt32.self, at: 0) == 0)
    }
  #endif
}
