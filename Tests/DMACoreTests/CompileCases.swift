// SPDX-License-Identifier: Apache-2.0

/// A line that the compiler must refuse, beside one that it must take.
struct CompileCase: Sendable {
  /// In which of the compiler's passes the line is refused: the later one does not run where the first fails.
  enum Stage: CaseIterable, Sendable {
    case types
    case ownership
  }

  let stage: Stage
  /// What it is about.
  let name: String
  /// A part of the message.
  let message: String
  let refused: String
  let taken: String

  /// What the lines may use.
  static let parameters =
    "_ space: any AddressSpace, _ unshared: consuming UnsharedMemory, _ memory: consuming DMAMemory, "
    + "_ number: UInt64, _ count: Int, _ iova: IOVA, _ physical: PhysicalAddress, _ pages: PageCount, "
    + "_ share: consuming DMAShare, _ slice: consuming DMASlice"

  static let all: [CompileCase] = [
    CompileCase(
      stage: .types, name: "an IOVA for a physical address",
      message: "cannot convert value of type 'IOVA' to specified type 'PhysicalAddress'",
      refused: "let place: PhysicalAddress = iova; _ = place",
      taken: "let place: PhysicalAddress = physical; _ = place"),
    CompileCase(
      stage: .types, name: "a physical address for an IOVA",
      message: "cannot convert value of type 'PhysicalAddress' to expected argument type 'IOVA'",
      refused: "_ = space.exposure(at: physical)", taken: "_ = space.exposure(at: iova)"),
    CompileCase(
      stage: .types, name: "a number for an IOVA",
      message: "cannot convert value of type 'UInt64' to expected argument type 'IOVA'",
      refused: "_ = try space.expose(unshared, access: .read, at: number)",
      taken: "_ = try space.expose(unshared, access: .read, at: IOVA(number))"),
    CompileCase(
      stage: .types, name: "an IOVA for a number of bytes",
      message: "cannot convert value of type 'IOVA' to expected argument type 'UInt64'",
      refused: "_ = IOVARange(start: iova, byteCount: iova)",
      taken: "_ = IOVARange(start: iova, byteCount: number)"),
    CompileCase(
      stage: .types, name: "two IOVAs added", message: "binary operator '+' cannot be applied to two 'IOVA'",
      refused: "_ = iova + iova", taken: "_ = iova.advanced(byByteCount: count)"),
    CompileCase(
      stage: .types, name: "an IOVA compared with a physical address",
      message: "cannot be applied to operands of type 'IOVA' and 'PhysicalAddress'",
      refused: "_ = iova < physical", taken: "_ = iova < iova"),
    CompileCase(
      stage: .types, name: "a number for a PASID",
      message: "cannot convert value of type 'UInt64' to specified type 'PASID'",
      refused: "let pasid: PASID = number; _ = pasid", taken: "let pasid: PASID? = PASID(7); _ = pasid"),
    CompileCase(
      stage: .types, name: "pages for bytes",
      message: "cannot convert value of type 'PageCount' to expected argument type 'Int'",
      refused: "_ = try UnsharedMemory(byteCount: pages)",
      taken: "_ = try UnsharedMemory(pageCount: pages)"),
    CompileCase(
      stage: .types, name: "bytes for pages",
      message: "cannot convert value of type 'Int' to expected argument type 'PageCount'",
      refused: "_ = try UnsharedMemory(pageCount: count)",
      taken: "_ = try UnsharedMemory(byteCount: count)"),
    CompileCase(
      stage: .types, name: "a page's size and the number of pages swapped",
      message: "argument 'pageCount' must precede argument 'pageByteCount'",
      refused: "_ = try PageShares(pageByteCount: 4096, pageCount: count)",
      taken: "_ = try PageShares(pageCount: count, pageByteCount: 4096)"),
    CompileCase(
      stage: .types, name: "a span of memory that a device reaches",
      message: "value of type 'DMAMemory' has no member 'bytes'",
      refused: "_ = memory.bytes.byteCount", taken: "_ = unshared.bytes.byteCount"),
    CompileCase(
      stage: .types, name: "memory that no device reaches, cut into a device's slices",
      message: "cannot convert value of type 'UnsharedMemory' to expected argument type 'DMAMemory'",
      refused: "_ = try DMAPool(unshared, sliceByteCount: 64)",
      taken: "_ = try DMAPool(memory, sliceByteCount: 64)"),
    CompileCase(
      stage: .types, name: "a device's memory in an array",
      message: "type 'DMAMemory' does not conform to protocol 'Copyable'",
      refused: "let list: [DMAMemory] = []; _ = list", taken: "let list: [IOVA] = []; _ = list"),
    CompileCase(
      stage: .types, name: "the way of sharing for the access",
      message: "type 'DMAAccess' has no member 'coherent'",
      refused: "_ = try space.expose(unshared, access: .coherent)",
      taken: "_ = try space.expose(unshared, access: .read, sharing: .coherent)"),
    CompileCase(
      stage: .ownership, name: "unshared memory used after it was exposed",
      message: "'unshared' used after consume",
      refused:
        "let exposed = try space.expose(unshared, access: .read); _ = (unshared.byteCount, exposed.iova)",
      taken: "let exposed = try space.expose(unshared, access: .read); _ = (exposed.byteCount, exposed.iova)"),
    CompileCase(
      stage: .ownership, name: "unshared memory exposed twice", message: "'unshared' consumed more than once",
      refused:
        "let a = try space.expose(unshared, access: .read), b = try space.expose(unshared, access: .read)"
        + "; _ = (a.iova, b.iova)",
      taken:
        "let a = try space.expose(unshared, access: .read), b = try a.share(with: space, access: .read)"
        + "; _ = (a.iova, b.iova)"
    ),
    CompileCase(
      stage: .ownership, name: "a span kept over the exposure",
      message: "overlapping accesses to 'unshared'",
      refused:
        "var bytes = unshared.bytes; let exposed = try space.expose(unshared, access: .read)"
        + "; bytes.storeBytes(of: 1, toByteOffset: 0, as: UInt8.self); _ = exposed.iova",
      taken:
        "var bytes = unshared.bytes; bytes.storeBytes(of: 1, toByteOffset: 0, as: UInt8.self)"
        + "; let exposed = try space.expose(unshared, access: .read); _ = exposed.iova"
    ),
    CompileCase(
      stage: .ownership, name: "a device's memory copied", message: "'memory' consumed more than once",
      refused: "let one = memory; let two = memory; _ = (one.iova, two.iova)",
      taken: "let one = memory; _ = (one.iova, one.byteCount)"),
    CompileCase(
      stage: .ownership, name: "a device's memory reclaimed twice",
      message: "'memory' consumed more than once",
      refused: "_ = try memory.reclaim(); _ = try memory.reclaim()", taken: "_ = try memory.reclaim()"),
    CompileCase(
      stage: .ownership, name: "a device's memory used after it was reclaimed",
      message: "'memory' used after consume",
      refused: "let back = try memory.reclaim(); memory.store(1 as UInt8, at: 0); _ = back.byteCount",
      taken: "memory.store(1 as UInt8, at: 0); let back = try memory.reclaim(); _ = back.byteCount"),
    CompileCase(
      stage: .ownership, name: "a share ended twice", message: "'share' consumed more than once",
      refused: "try share.unshare(); try share.unshare()", taken: "try share.unshare()"),
    CompileCase(
      stage: .ownership, name: "a slice used after it was abandoned", message: "'slice' used after consume",
      refused: "slice.abandon(); _ = slice.iova", taken: "_ = slice.iova; slice.abandon()"),
  ]
}
