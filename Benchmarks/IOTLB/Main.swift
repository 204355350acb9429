// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import CTwinsIOTLB
internal import DMACore
internal import LinuxHandles
internal import LoopMeasurement
internal import VDUSE

/// What it costs to find where in this process an address of the driver is; see run.
@main
enum Main {
  /// Of an entry.
  private static let byteCount: UInt64 = 4 << 20
  /// What is added to an entry's first address, at most, where 4 KiB more are within it.
  private static let mask: UInt64 = (2 << 20) - 1
  /// Instructions of a lookup, those of its loop among them.
  private static let limit = 25

  static func main() throws {
    let iotlb = IOTLB { (range, _) throws(KernelError) in
      let start = range.start.rawValue & ~(byteCount - 1)
      let file = OwnedDescriptor(
        adopting: try kernelCall("memfd_create") { unsafe abi_memory_file("entry", 0, byteCount) })
      let entry = IOTLBEntry(
        range: IOVARange(start: IOVA(start), last: IOVA(start + byteCount - 1)), fileOffset: 0,
        access: .readWrite)
      return try IOTLBMapping(IOTLBFile(entry: entry, descriptor: file), addressSpace: 0)
    }
    let cache = IOTLBCache(of: iotlb, addressSpace: 0)
    let (first, second) = (byteCount, 4 * byteCount)
    guard let base = unsafe cache.bytes(at: IOVA(first), byteCount: 1, writable: true) else { return }
    var line = twin_line(
      start: first, last: first + byteCount - 1, displacement: UInt(bitPattern: base) &- UInt(first),
      access: 3)
    Measurement.compare("IOTLBCache.bytes, of the entry used last", .init(instructions: limit)) {
      findBytes(cache, first, mask, $0)
    } twin: {
      unsafe twin_iotlb_find(&line, first, mask, $0)
    } unchecked: {
      unsafe twin_iotlb_find_unchecked(&line, first, mask, $0)
    }
    Measurement.compare("IOTLBCache.run, of the entry used last", .init(instructions: limit)) {
      findRuns(cache, first, mask, $0)
    } twin: {
      unsafe twin_iotlb_find(&line, first, mask, $0)
    } unchecked: {
      unsafe twin_iotlb_find_unchecked(&line, first, mask, $0)
    }
    Measurement.count("IOTLBCache.bytes, of two entries in turn", atMost: nil) {
      findInTurn(cache, first, second, $0)
    }
  }
}
