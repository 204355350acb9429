// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxHandles
import SystemPackage
import Testing

@Suite struct OwnedDescriptorTests {
  @Test func deinitCloses() async {
    await #expect(processExitsWith: .success) {
      let before = ProcessFacts.descriptorCount
      do {
        let descriptor = try OwnedDescriptor.open("/dev/null", for: .read)
        ProcessFacts.require(ProcessFacts.descriptorCount == before + 1, "not open")
        _ = descriptor.rawValue
      }
      ProcessFacts.require(ProcessFacts.descriptorCount == before, "not closed")
    }
  }

  /// The number is taken again at once after `close`: a second close would hit the newcomer.
  @Test func closesExactlyOnce() async {
    await #expect(processExitsWith: .success) {
      let number: CInt
      do {
        let descriptor = try OwnedDescriptor.open("/dev/null", for: .read)
        number = descriptor.rawValue
        try descriptor.close()
        ProcessFacts.require(!ProcessFacts.isOpen(number), "close does not close")
        let newcomer = unsafe Glibc.open("/dev/zero", O_RDONLY)
        ProcessFacts.require(newcomer == number, "the number is free")
      }
      ProcessFacts.require(ProcessFacts.isOpen(number), "the deinit ran after close")
    }
  }

  @Test func relinquishLeavesItOpen() async {
    await #expect(processExitsWith: .success) {
      let number: CInt
      do {
        number = try OwnedDescriptor.open("/dev/null", for: .read).relinquish()
      }
      ProcessFacts.require(ProcessFacts.isOpen(number), "closed although it was given away")
    }
  }

  @Test func closeReportsWhatTheKernelSays() async {
    await #expect(processExitsWith: .success) {
      let descriptor = try OwnedDescriptor.open("/dev/null", for: .read)
      Glibc.close(descriptor.rawValue)
      do throws(KernelError) {
        try descriptor.close()
        ProcessFacts.require(false, "closed what was closed")
      } catch {
        ProcessFacts.require(error.errno == .badFileDescriptor && error.operation == "close", "\(error)")
      }
    }
  }

  @Test func openNamesThePath() {
    let error = #expect(throws: KernelError.self) {
      _ = try OwnedDescriptor.open("/nowhere/at all", for: .readWrite)
    }
    #expect(error?.errno == .noSuchFileOrDirectory)
    #expect(error?.operation == "open")
    #expect(error?.subject == "/nowhere/at all")
  }

  @Test func aDescriptorIsClosedOnExec() throws {
    let descriptor = try OwnedDescriptor.open("/dev/null", for: .read)
    #expect(fcntl(descriptor.rawValue, F_GETFD) == FD_CLOEXEC)
    let copy = try descriptor.duplicate()
    #expect(copy.rawValue != descriptor.rawValue)
    #expect(fcntl(copy.rawValue, F_GETFD) == FD_CLOEXEC)
  }

  @Test func readsAndWritesAtAnOffset() throws {
    let file = ProcessFacts.temporaryFile()
    let source: [UInt8] = [1, 2, 3, 4]
    let written = unsafe try file.write(source.span.bytes, atFileOffset: 10)
    #expect(written == 4)
    var target = [UInt8](repeating: 9, count: 6)
    var span = target.mutableSpan
    var bytes = unsafe span.mutableBytes
    let count = try file.read(into: &bytes, atFileOffset: 9)
    #expect(count == 5)
    #expect(target == [0, 1, 2, 3, 4, 9])
  }

  @Test func aTextFileIsReadWhole() throws {
    let text = try TextFile.contents(of: "/proc/self/status")
    #expect(text.hasPrefix("Name:"))
    #expect(text.hasSuffix("\n"))
    let error = #expect(throws: KernelError.self) { try TextFile.contents(of: "/proc/self/nothing") }
    #expect(error?.errno == .noSuchFileOrDirectory)
  }

  @Test func adoptingNothingIsACallersError() async {
    await #expect(processExitsWith: .failure) { _ = OwnedDescriptor(adopting: -1) }
  }
}
