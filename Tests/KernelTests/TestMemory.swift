// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import DMACore
import Glibc
import IOMMUFD
import LinuxHandles
import SystemPackage
import Testing

/// Memory of this process that tests map in ways that `DMAMemory` does not offer: at any byte, several times.
@safe
final class TestMemory: @unchecked Sendable {
  enum Kind: Sendable { case pages, hugePages, file, hugeFile }

  /// The length of an ordinary page.
  static let page = 4096
  static let hugePage = 1 << 21

  private let mapping: MappedMemory
  private let file: OwnedDescriptor?
  /// The descriptor of a file's memory: it is then mapped by its file.
  let fileNumber: CInt?
  let byteCount: Int

  /// At an address that is a multiple of 2 MiB, so that nothing but its length limits what the kernel chooses.
  init(_ byteCount: Int, _ kind: Kind = .pages) throws {
    self.byteCount = byteCount
    switch kind {
    case .pages:
      mapping = try .anonymous(byteCount: byteCount, alignment: Self.hugePage)
      file = nil
      fileNumber = nil
    case .hugePages:
      mapping = try .anonymous(byteCount: byteCount, hugePageSizeLog2: 21)
      file = nil
      fileNumber = nil
    case .file, .hugeFile:
      let isHuge: CInt = kind == .hugeFile ? 1 : 0
      let file = OwnedDescriptor(
        adopting: try kernelCall("memfd_create") { cmock_memory_file(UInt64(byteCount), isHuge) })
      mapping = try .sharing(file, offset: 0, byteCount: byteCount)
      fileNumber = file.rawValue
      self.file = consume file
    }
    // Each page differs from the others, and is there.
    for place in stride(from: 0, to: byteCount, by: Self.page) {
      unsafe mapping.baseAddress.storeBytes(of: UInt64(place) | 0xa5, toByteOffset: place, as: UInt64.self)
    }
  }

  /// Of a mapping that is private though its file is not this memory's own.
  init(privatelyMapping byteCount: Int) throws {
    let file = OwnedDescriptor(
      adopting: try kernelCall("memfd_create") { cmock_memory_file(UInt64(byteCount), 0) })
    let fd = file.rawValue
    let address = try kernelCall("mmap") { cmock_map_private(fd, UInt64(byteCount)) }
    let base = try unsafe #require(UnsafeMutableRawPointer(bitPattern: Int(address)))
    mapping = unsafe MappedMemory(adopting: base, byteCount: byteCount)
    self.byteCount = byteCount
    self.file = nil
    fileNumber = nil
  }

  @unsafe
  func bytes(_ part: Range<Int>? = nil) -> UnsafeMutableRawBufferPointer {
    let part = part ?? 0..<byteCount
    precondition(part.lowerBound >= 0 && part.upperBound <= byteCount, "a part of the memory")
    return unsafe UnsafeMutableRawBufferPointer(
      start: mapping.baseAddress + part.lowerBound, count: part.count)
  }

  subscript(place: Int) -> UInt8 {
    get { unsafe bytes()[place] }
    set { unsafe bytes()[place] = newValue }
  }

  /// Fills a part with words that follow from a seed.
  func scramble(_ seed: Int, _ part: Range<Int>? = nil) {
    var state = UInt64(truncatingIfNeeded: seed) | 1
    let bytes = unsafe bytes(part)
    for place in stride(from: 0, to: bytes.count, by: 8) {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      unsafe withUnsafeBytes(of: state) {
        let rest = min(8, bytes.count - place)
        unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[place..<place + rest])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<rest]))
      }
    }
  }

  func contents(_ part: Range<Int>) -> [UInt8] { unsafe Array(bytes(part)) }

  /// Makes a hole: nobody, not even the kernel, reaches that part.
  func punch(_ part: Range<Int>) throws {
    try kernelCall("mprotect") { unsafe cmock_forbid(bytes(part).baseAddress, UInt64(part.count)) }
  }

  func truncateFile(to byteCount: Int) throws {
    let fd = try #require(fileNumber)
    try kernelCall("ftruncate") { cmock_truncate(fd, UInt64(byteCount)) }
  }
}

extension IOAS {
  /// Maps memory by its address, or by its file where it is one.
  @discardableResult
  func map(
    _ memory: TestMemory, _ part: Range<Int>? = nil, at iova: IOVA? = nil, access: DMAAccess = .readWrite
  ) throws(KernelError) -> IOVARange {
    let part = part ?? 0..<memory.byteCount
    if let fd = memory.fileNumber {
      return try mapFile(fd, part, at: iova, access: access)
    }
    return try unsafe mapBytes(UnsafeRawBufferPointer(memory.bytes(part)), at: iova, access: access)
  }

  private func mapFile(
    _ fd: CInt, _ part: Range<Int>, at iova: IOVA?, access: DMAAccess
  ) throws(KernelError) -> IOVARange {
    let file = try OwnedDescriptor.duplicating(fd)
    let bytes = UInt64(part.lowerBound)..<UInt64(part.upperBound)
    return try mapBytes(of: file, bytes, at: iova, access: access)
  }

  @discardableResult
  func unmap(_ iova: IOVA, _ byteCount: Int) throws(KernelError) -> UInt64 {
    try unmapBytes(IOVARange(start: iova, last: iova.advanced(byByteCount: byteCount - 1)))
  }

  func unmapAll() throws(KernelError) -> UInt64 {
    try unmapBytes(IOVARange(start: IOVA(0), last: IOVA(.max)))
  }

  /// Copies a mapping of so many bytes.
  @discardableResult
  func copy(
    _ iova: IOVA, _ byteCount: Int, from source: IOAS, at target: IOVA? = nil, access: DMAAccess = .readWrite
  ) throws(KernelError) -> IOVARange {
    let range = IOVARange(start: iova, last: iova.advanced(byByteCount: byteCount - 1))
    return try copyMapping(of: range, from: source, at: target, access: access)
  }
}

extension MockDevice {
  /// Checks that the page table leads to this memory.
  func check(_ iova: IOVA, _ memory: TestMemory, _ part: Range<Int>? = nil) throws(KernelError) {
    try unsafe checkMap(iova, UnsafeRawBufferPointer(memory.bytes(part)))
  }
}

extension MockAccess {
  borrowing func pin(
    _ iova: IOVA, _ memory: TestMemory, _ part: Range<Int>? = nil, writing: Bool = true
  ) throws(KernelError) -> Pin {
    try unsafe pin(iova, UnsafeRawBufferPointer(memory.bytes(part)), writing: writing)
  }
}

extension TestMemory {
  /// Checks how often each page is pinned.
  func checkPins(_ part: Range<Int>? = nil, are pins: UInt32, in context: IOMMUFDContext) throws(KernelError)
  {
    try unsafe MockIOMMU.checkPins(UnsafeRawBufferPointer(bytes(part)), are: pins, in: context)
  }
}

/// Expects that the kernel, or the library in its words, refuses.
func refused(
  _ errno: Errno, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) {
  let error = #expect(throws: KernelError.self, sourceLocation: sourceLocation, performing: body)
  #expect(error?.errno == errno, "\(String(describing: error))", sourceLocation: sourceLocation)
}

/// Why the kernel refuses; nil where it does not.
///
/// For loops that are too long for an expectation each.
func refusal(of body: () throws(KernelError) -> Void) -> Errno? {
  do throws(KernelError) {
    try body()
    return nil
  } catch {
    return error.errno
  }
}
