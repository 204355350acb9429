// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxHandles
import SystemPackage
import Testing

@Suite struct OwnedDescriptorTests {
  /// A second number of a file, one that no other thread of the process is given meanwhile.
  private static func number(of file: borrowing OwnedDescriptor) -> CInt {
    let number = fcntl(file.rawValue, F_DUPFD_CLOEXEC, 500)
    ProcessFacts.require(number >= 500, "no descriptor: errno \(errno)")
    return number
  }

  @Test func deinitCloses() {
    let witness = ClosingWitness()
    do {
      let descriptor = OwnedDescriptor(adopting: witness.tested)
      #expect(ProcessFacts.isOpen(descriptor.rawValue))
      let isClosed = witness.seesEnd(within: .zero)
      #expect(!isClosed)
    }
    let isClosed = witness.seesEnd()
    #expect(isClosed)
  }

  @Test func closeCloses() throws {
    let witness = ClosingWitness()
    try OwnedDescriptor(adopting: witness.tested).close()
    let isClosed = witness.seesEnd()
    #expect(isClosed)
  }

  /// The number is taken again after `close`: a second close would hit the newcomer.
  @Test func closesExactlyOnce() async {
    await #expect(processExitsWith: .success) {
      let null = try OwnedDescriptor.open("/dev/null", for: .read)
      let number = Self.number(of: null)
      do {
        let descriptor = OwnedDescriptor(adopting: number)
        try descriptor.close()
        ProcessFacts.require(!ProcessFacts.isOpen(number), "close left it open")
        ProcessFacts.require(dup2(null.rawValue, number) == number, "no newcomer: errno \(errno)")
      }
      ProcessFacts.require(ProcessFacts.isOpen(number), "the deinit ran after close")
    }
  }

  @Test func relinquishLeavesItOpen() {
    let witness = ClosingWitness()
    let number: CInt
    do { number = OwnedDescriptor(adopting: witness.tested).relinquish() }
    let isClosed = witness.seesEnd(within: .zero)
    #expect(!isClosed)
    Glibc.close(number)
  }

  @Test func closeReportsWhatTheKernelSays() async {
    await #expect(processExitsWith: .success) {
      let null = try OwnedDescriptor.open("/dev/null", for: .read)
      let descriptor = OwnedDescriptor(adopting: Self.number(of: null))
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
