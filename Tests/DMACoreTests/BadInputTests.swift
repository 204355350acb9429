// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import SystemPackage
import Testing

/// Numbers that make no sense, refused before the kernel hears of them.
@Suite struct BadInputTests {
  /// A space whose granule is larger than a page.
  private final class CoarseSpace: AddressSpace {
    let label = "coarse"
    let granuleByteCount = 65536
    let reservations = IOVAReservations(allowed: [IOVARange(start: IOVA(0), last: IOVA(.max))])
    @unsafe
    func mapPages(
      _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
    ) throws(KernelError) {}
    func unmapPages(_ range: IOVARange) throws(KernelError) {}
  }

  private func refusal(_ body: () throws(KernelError) -> DMAMemory) -> KernelError? {
    do throws(KernelError) {
      _ = try body()
      return nil
    } catch {
      return error
    }
  }

  @Test(arguments: [0, -1, .min, .max, .max / 2])
  func sizesThatAreNoneAreRefused(_ byteCount: Int) {
    let error = #expect(throws: KernelError.self) { _ = try UnsharedMemory(byteCount: byteCount) }
    #expect(error?.errno == .invalidArgument && error?.remedy != nil)
  }

  @Test func lengthsAndPlacesOffTheGranuleAreRefused() throws {
    let space = CoarseSpace()
    let short = refusal { () throws(KernelError) in
      try space.expose(UnsharedMemory(byteCount: 4096), access: .read)
    }
    #expect(short?.errno == .invalidArgument && short?.remedy?.contains("multiples of 65536") == true)
    for iova: UInt64 in [1, 4096, 65537, 65536 + 4096] {
      let crooked = refusal { () throws(KernelError) in
        try space.expose(UnsharedMemory(byteCount: 65536), access: .read, at: IOVA(iova))
      }
      #expect(crooked?.errno == .invalidArgument)
    }
    let memory = try space.expose(UnsharedMemory(byteCount: 65536), access: .read, at: IOVA(65536))
    let error = #expect(throws: KernelError.self) {
      _ = try memory.share(with: space, bytes: 0..<4096, access: .read)
    }
    #expect(error?.errno == .invalidArgument)
    #expect(space.exposures.count == 1)
  }

  @Test func rangesThatWrapAreRefused() throws {
    let space = TestSpace(allowed: [IOVARange(start: IOVA(0), last: IOVA(.max))])
    for (iova, byteCount) in [(UInt64.max - 4095, 8192), (.max - 8191, 12288), (.max - 4094, 4096)] {
      let error = refusal { () throws(KernelError) in
        try space.expose(UnsharedMemory(byteCount: byteCount), access: .read, at: IOVA(iova))
      }
      #expect(error?.errno == .invalidArgument)
    }
    let last = try space.expose(UnsharedMemory(byteCount: 8192), access: .read, at: IOVA(.max - 8191))
    #expect(space.exposure(at: IOVA(.max))?.byteOffset(of: IOVA(.max)) == 8191)
    #expect(space.listing.first?.range.last == IOVA(.max))
    #expect(IOVARange(start: IOVA(1), byteCount: .max) != nil)
    #expect(
      IOVARange(start: IOVA(2), byteCount: .max) == nil && IOVARange(start: IOVA(2), byteCount: 0) == nil)
    _ = try last.reclaim()
  }

  @Test func overlapsOfEveryKindAreRefused() throws {
    let space = TestSpace()
    let memory = try space.expose(UnsharedMemory(byteCount: 16384), access: .read, at: IOVA(0x10_0000))
    // Before and into it, the same, inside, out of it, around it.
    for (iova, byteCount) in [
      (UInt64(0xf_f000), 8192), (0x10_0000, 16384), (0x10_1000, 4096), (0x10_3000, 8192), (0xf_f000, 32768),
    ] {
      let error = refusal { () throws(KernelError) in
        try space.expose(UnsharedMemory(byteCount: byteCount), access: .read, at: IOVA(iova))
      }
      #expect(error?.errno == .fileExists && error?.remedy != nil)
    }
    #expect(space.exposures.count == 1)
    _ = try memory.reclaim()
  }

  @Test func sizesBeyondTheApertureAreRefused() throws {
    let space = TestSpace(allowed: [
      IOVARange(start: IOVA(0x10000), last: IOVA(0x2_0fff)),
      IOVARange(start: IOVA(0x40000), last: IOVA(0x4_7fff)),
    ])
    let long = refusal { () throws(KernelError) in
      try space.expose(UnsharedMemory(byteCount: 0x12000), access: .read)
    }
    #expect(long?.errno == .noSpace && long?.remedy?.contains("0x40000...0x47fff") == true)
    let into = refusal { () throws(KernelError) in
      try space.expose(UnsharedMemory(byteCount: 0x2000), access: .read, at: IOVA(0x2_0000))
    }
    #expect(into?.errno == .invalidArgument)
    // The lower range is long enough for this one.
    let fits = try space.expose(UnsharedMemory(byteCount: 0x11000), access: .read, at: IOVA(0x10000))
    #expect(fits.byteCount == 0x11000)
  }

  /// The best alignment is a wish: a narrow device still gets what fits.
  @Test func anAlignmentThatDoesNotFitIsLowered() throws {
    let space = TestSpace(allowed: [IOVARange(start: IOVA(0x1000), last: IOVA(0x3f_ffff))])
    let aligned = try space.expose(UnsharedMemory(byteCount: 1 << 21), access: .read)
    #expect(aligned.iova == IOVA(0x20_0000))
    let second = try space.expose(UnsharedMemory(byteCount: 1 << 20), access: .read)
    #expect(second.iova == IOVA(0x1000))
    let other = TestSpace(allowed: [IOVARange(start: IOVA(0x1000), last: IOVA(0x2f_ffff))])
    let lowered = try other.expose(UnsharedMemory(byteCount: 1 << 21), access: .read)
    #expect(lowered.iova == IOVA(0x1000))
  }

  /// Memory that long takes more than most machines have: what refuses it is asked alone.
  @Test func moreThan16TiBAtOnceIsRefused() throws {
    let limit = 1 << 44
    try IOVAReservations.checkLength(limit, in: "space")
    for byteCount in [limit + 4096, .max] {
      let error = #expect(throws: KernelError.self) {
        try IOVAReservations.checkLength(byteCount, in: "space")
      }
      #expect(error?.errno == .invalidArgument && error?.subject == "space, \(byteCount) bytes")
      #expect(error?.remedy?.contains("needed \(byteCount) bytes, limit 17592186044416 (16 TiB)") == true)
    }
  }
}
