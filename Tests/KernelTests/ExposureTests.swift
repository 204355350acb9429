// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// What the library makes of the kernel's calls: memory that comes into an address space as a file, by a copy, or
  /// where the kernel chooses, all in one ledger.
  @Suite struct ExposureTests {
    private let page = TestMemory.page

    /// Reads a byte as a device would.
    private func byte(at iova: IOVA, of space: IOAS) throws -> UInt8 {
      let access = try MockAccess(to: space, pinsPages: false)
      var bytes: [UInt8] = [0]
      try unsafe bytes.withUnsafeMutableBytes { try unsafe access.read(iova, into: $0) }
      return bytes[0]
    }

    /// Whether nothing is left of what was made in a context: only then does the kernel let this be changed.
    private func isEmpty(_ context: IOMMUFDContext) -> Bool {
      (try? context.setLockAccounting(.process)) != nil
    }

    @Test func aFileIsExposed() throws {
      let space = try IOAS(in: IOMMUFDContext())
      let leaks = LeakCheck { $0.contains("memfd") }
      do {
        let memory = try space.exposeFile(
          UnsharedMemory(byteCount: 3 * page, kind: .file), access: .readWrite)
        memory.store(UInt8(0x31), at: page)
        #expect(try byte(at: memory.iova(at: page), of: space) == 0x31)
        #expect(space.exposures.map(\.range.start) == [memory.iova])
        var back = try memory.reclaim()
        #expect(unsafe back.bytes.unsafeLoad(fromByteOffset: page, as: UInt8.self) == 0x31)
      }
      try leaks.verify()
      let error = #expect(throws: KernelError.self) {
        _ = try space.exposeFile(UnsharedMemory(byteCount: page), access: .read)
      }
      #expect(error?.errno == .invalidArgument && error?.remedy?.contains("file") == true)
    }

    @Test func aCopyIsCountedAndPinsNothing() throws {
      let context = try IOMMUFDContext()
      let (first, second) = (try IOAS(in: context), try IOAS(in: context))
      let devices = [try MockDevice(attachedTo: first), try MockDevice(attachedTo: second)]
      for space in [first, second] { try space.refreshAllowedRanges() }
      let memory = try first.expose(UnsharedMemory(byteCount: 4 * page), access: .readWrite)
      memory.store(UInt8(7), at: 2 * page)
      let share = try memory.share(copyingMappingTo: second, bytes: page..<3 * page, access: .read)
      #expect(try byte(at: share.iova(at: page), of: second) == 7)
      let ledger = memory.shares
      #expect((0..<4).map { ledger.count(ofPage: $0) } == [1, 2, 2, 1])
      #expect(second.listing.flatMap(\.holders).contains { $0.hasPrefix(second.label) })
      // Without a copy the page is pinned once for each address space.
      let again = try memory.share(with: second, access: .read)
      #expect(ledger.count(ofPage: 1) == 3)
      try again.unshare()
      do throws(KernelError) {
        _ = try memory.reclaim()
        Issue.record("a copy lasts")
      } catch {
        #expect(error.errno == .resourceBusy && error.remedy?.contains(second.label) == true)
      }
      #expect(try byte(at: share.iova(at: page), of: second) == 7, "the copy outlives the original")
      try share.unshare()
      #expect(ledger.listing.isEmpty && second.exposures.isEmpty)
      for device in devices { try device.destroy() }
    }

    @Test func whatCannotBeCopiedIsRefused() throws {
      let context = try IOMMUFDContext()
      let (first, second) = (try IOAS(in: context), try IOAS(in: context))
      let memory = try first.expose(UnsharedMemory(byteCount: 2 * page), access: .read)
      refused(.notPermitted) { _ = try memory.share(copyingMappingTo: second, access: .readWrite) }
      refused(.invalidArgument) {
        _ = try memory.share(copyingMappingTo: second, bytes: 1..<page, access: .read)
      }
      refused(.invalidArgument) {
        _ = try memory.share(copyingMappingTo: second, bytes: -page..<page, access: .read)
      }
      let stranger = try IOAS(in: IOMMUFDContext())
      refused(.invalidArgument) { _ = try memory.share(copyingMappingTo: stranger, access: .read) }
      #expect(memory.shares.count(ofPage: 0) == 1 && second.exposures.isEmpty)
      // What was cut off cannot be copied either.
      try first.endAllExposures()
      refused(.noSuchFileOrDirectory) { _ = try memory.share(copyingMappingTo: second, access: .read) }
    }

    @Test func theKernelChoosesWhereOthersMapToo() throws {
      let context = try IOMMUFDContext()
      let owner = try IOAS(in: context)
      let allowed = IOVARange(start: IOVA(0x10_0000), last: IOVA(0x10_ffff))
      try owner.allow([allowed])
      let others = try TestMemory(page)
      let theirs = try owner.map(others)
      let space = try IOAS(adopting: owner.id, in: context)
      let memory = try space.exposeAnywhere(UnsharedMemory(byteCount: 2 * page), access: .readWrite)
      let range = IOVARange(start: memory.iova, last: memory.iova(at: 2 * page - 1))
      #expect(allowed.contains(range) && !range.overlaps(theirs))
      #expect(space.exposures.map(\.range) == [range])
      refused(.fileExists) {
        _ = try space.expose(UnsharedMemory(byteCount: page), access: .read, at: range.start)
      }
      // The kernel's choice would be the same, but its owner has the addresses still.
      try space.endAllExposures()
      let next = try space.exposeAnywhere(UnsharedMemory(byteCount: 2 * page), access: .readWrite)
      #expect(next.iova != range.start)
      _ = try memory.reclaim()
      _ = try next.reclaim()
      refused(.noSpace) {
        _ = try space.exposeAnywhere(UnsharedMemory(byteCount: 32 * page), access: .readWrite)
      }
    }

    @Test func aFileOfOthersIsMappedAndCopied() throws {
      let context = try IOMMUFDContext()
      let (first, second) = (try IOAS(in: context), try IOAS(in: context))
      let memory = try TestMemory(4 * page, .file)
      memory[2 * page] = 0x42
      let file = try OwnedDescriptor.duplicating(#require(memory.fileNumber))
      let mapping = try first.map(file, page..<3 * page, at: IOVA(0x40_0000))
      #expect(mapping.range == IOVARange(start: IOVA(0x40_0000), last: IOVA(0x40_1fff)))
      let copy = try mapping.copied(to: second, access: .read)
      refused(.fileExists) { _ = try first.map(file, 0..<page, at: IOVA(0x40_1000)) }
      refused(.invalidArgument) { _ = try first.map(file, 0..<page + 1) }
      refused(.invalidArgument) { _ = try first.map(file, 0..<0) }
      try mapping.unmap()
      #expect(try byte(at: copy.iova.advanced(byByteCount: page), of: second) == 0x42)
      refused(.noSuchFileOrDirectory) { _ = try byte(at: IOVA(0x40_0000), of: first) }
    }

    /// The kernel gives numbers out again at once.
    ///
    /// A handle that is left over cannot mean the new object, because it keeps the old one.
    @Test func aStaleHandleDoesNotHitANewObject() throws {
      let context = try IOMMUFDContext()
      var first: IOAS? = try IOAS(in: context)
      let id = try #require(first?.id)
      let pages = try TestMemory(page, .file)
      let file = try OwnedDescriptor.duplicating(#require(pages.fileNumber))
      let mapping = try #require(first).map(file, 0..<page, at: IOVA(0x1000))
      first = nil
      let second = try IOAS(in: context)
      #expect(second.id != id, "the mapping keeps its address space")
      let memory = try second.expose(UnsharedMemory(byteCount: page), access: .readWrite, at: IOVA(0x1000))
      try mapping.unmap()
      #expect(try byte(at: memory.iova, of: second) == 0)
      let third = try IOAS(in: context)
      #expect(third.id == id, "now it is gone, and its number out again")
    }

    #if DEBUG
      /// Pages whose copy could not be unmapped stay shared until that address space is gone, and no longer.
      @Test func aCopyThatCannotBeUnmappedKeepsItsPages() throws {
        let context = try IOMMUFDContext()
        let first = try IOAS(in: context)
        var second: IOAS? = try IOAS(in: context)
        let memory = try first.expose(UnsharedMemory(byteCount: page), access: .readWrite)
        var share: DMAShare? = try memory.share(copyingMappingTo: #require(second), access: .read)
        FaultPlan.$current.withValue(FaultPlan(atCall: 1, .fails(.ioError))) { share = nil }
        _ = share
        #expect(memory.shares.count(ofPage: 0) == 2)
        second = nil
        #expect(memory.shares.count(ofPage: 0) == 1)
        _ = second
      }

      @Test func everyCallMayFail() throws {
        func concerns(_ path: String) -> Bool {
          path.hasPrefix("/dev/iommu") || path.contains("memfd:swift-vfio")
        }
        let file = try TestMemory(2 * page, .file)
        let number = try #require(file.fileNumber)
        var isEmptyWhenPassing = false
        let swept = try faultSweep(.ioError, concerning: concerns) { plan in
          let context = try IOMMUFDContext()
          do {
            try FaultPlan.$current.withValue(plan) { try useAll(context, file: .duplicating(number)) }
            isEmptyWhenPassing = isEmpty(context)
          } catch let error as KernelError {
            #expect(plan.wasReached && error.errno == .ioError, "\(error)")
          }
        }
        #expect(swept >= 25, "\(swept) calls")
        #expect(isEmptyWhenPassing)
      }

      private func useAll(_ context: IOMMUFDContext, file: consuming OwnedDescriptor) throws {
        _ = try context.lockAccounting()
        try context.setLockAccounting(.user)
        let (first, second) = (try IOAS(in: context), try IOAS(in: context))
        try first.setUsesHugePages(false)
        _ = try first.usesHugePages()
        try context.setCompatibilityIOAS(first)
        _ = try context.compatibilityIOAS()
        try context.clearCompatibilityIOAS()
        _ = try first.usableAddresses()
        try first.allow([IOVARange(start: IOVA(0x10_0000), last: IOVA(0xff_ffff))])
        let mapping = try first.map(file, 0..<2 * page)
        let copy = try mapping.copied(to: second)
        try mapping.unmap()
        try copy.unmap()
        let exposed = try first.exposeFile(UnsharedMemory(byteCount: page, kind: .file), access: .readWrite)
        try context.adoptMappings()
        let share = try exposed.share(copyingMappingTo: second, access: .readWrite)
        try share.unshare()
        _ = try exposed.reclaim()
        _ = try first.exposeAnywhere(UnsharedMemory(byteCount: page), access: .readWrite).reclaim()
      }
    #endif
  }
}
