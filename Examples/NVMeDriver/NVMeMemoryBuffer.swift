// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DeviceRegisters
internal import DriverCore
internal import LinuxHandles
internal import PCIBus
internal import Synchronization

/// A controller's own memory (CMB), in which submission queues may lie: the controller then fetches commands from itself.
/// - Source: NVM Express Base Specification 2.0, 8.5.
final class NVMeMemoryBuffer: Sendable {
  private let window: RegisterWindow
  /// Where the buffer begins in the window, in bytes.
  private let start: Int
  let byteCount: Int
  /// Which of its pages are taken.
  private let pages: Mutex<[Bool]>
  /// Where the controller finds it among its own addresses: higher than an IOMMU of today translates, so that no memory
  /// is there.
  static let baseAddress: UInt64 = 1 << 62

  /// Switches the buffer on; nil where it cannot hold submission queues.
  static func open<Function: PCIFunction & ~Copyable>(
    of function: borrowing Function, _ registers: NVMeRegisterFile
  ) throws(NVMeError) -> NVMeMemoryBuffer? {
    // Its place and size are shown once the capabilities are switched on.
    registers.window.write(1, to: NVMeRegisters.memoryBufferControl)
    let location = registers.window.read(NVMeRegisters.memoryBufferLocation)
    let size = registers.window.read(NVMeRegisters.memoryBufferSize)
    guard size != .max, size & 1 != 0, let index = PCIBAR.Index(rawValue: Int(location & 7)) else {
      return nil
    }
    let unit = 4096 << (4 * Int(size >> 8 & 0xf))
    let (start, byteCount) = (Int(location >> 12) * unit, Int(size >> 12) * unit)
    let window = try NVMeError.wrappingKernel { () throws(KernelError) in try function.mapBAR(index) }
    guard byteCount > 0, start + byteCount <= window.byteCount else { return nil }
    let buffer = NVMeMemoryBuffer(window, start: start, byteCount: byteCount)
    return buffer.enable(registers) ? buffer : nil
  }

  private init(_ window: consuming RegisterWindow, start: Int, byteCount: Int) {
    self.window = window
    self.start = start
    self.byteCount = byteCount
    pages = Mutex([Bool](repeating: false, count: byteCount / 4096))
  }

  /// Gives it its address; again after each reset of the function.
  func enable(_ registers: NVMeRegisterFile) -> Bool {
    registers.window.write(Self.baseAddress | 3, to: NVMeRegisters.memoryBufferControl)
    return registers.window.read(NVMeRegisters.memoryBufferStatus) & 1 == 0
  }

  /// Takes pages that follow each other; nil where there are none.
  func take(byteCount: Int) -> Place? {
    let count = (byteCount + 4095) / 4096
    let first = pages.withLock { pages -> Int? in
      guard count <= pages.count else { return nil }
      for first in 0...(pages.count - count) where !pages[first..<(first + count)].contains(true) {
        for page in first..<(first + count) { pages[page] = true }
        return first
      }
      return nil
    }
    return first.map { Place(self, $0..<($0 + count)) }
  }

  /// Some pages with one owner.
  final class Place: Sendable {
    private let buffer: NVMeMemoryBuffer
    private let pages: Range<Int>

    fileprivate init(_ buffer: NVMeMemoryBuffer, _ pages: Range<Int>) {
      self.buffer = buffer
      self.pages = pages
    }

    deinit { buffer.pages.withLock { all in for page in pages { all[page] = false } } }

    /// The controller's address of the first byte.
    var iova: IOVA { IOVA(NVMeMemoryBuffer.baseAddress + UInt64(pages.lowerBound * 4096)) }

    private var start: Int { buffer.start + pages.lowerBound * 4096 }

    /// Where it is mapped in this process; nil where it is reached by calls.
    @unsafe var address: UnsafeMutableRawPointer? {
      unsafe buffer.window.address(at: start, byteCount: pages.count * 4096)
    }

    func store(_ word: UInt64, at byteOffset: Int) { buffer.window.store(word, at: start + byteOffset) }
  }
}
