// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore
import Glibc
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// What a driver may get wrong, and what the machine may lack: refused, with nothing left behind.
  @Suite struct DMAInputTests {
    /// What must be the same after a refusal.
    private struct Accounts: Equatable {
      let lock: MemoryLockLimit
      let availableMappings: Int?
      let exposureCount: Int
      let parkedByteCount: Int

      init(_ space: any AddressSpace) throws {
        lock = try .current()
        availableMappings = try (space as? VFIOContainer)?.info().availableMappings
        exposureCount = space.exposures.count
        parkedByteCount = space.reservations.parkedByteCount
      }
    }

    @Test(arguments: LabFunction.modes)
    func placesThatAreNoneAreRefused(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      let held = try space.expose(UnsharedMemory(byteCount: 16384), access: .readWrite, at: IOVA(0x10_0000))
      let before = try Accounts(space)
      let top = try #require(space.reservations.allowed.last).last.rawValue
      let cases: [(UInt64, Int, Errno)] = [
        (0x10_0001, 4096, .invalidArgument), (0x10_0800, 4096, .invalidArgument),  // not whole pages
        (.max - 4095, 8192, .invalidArgument), (.max - 4094, 4096, .invalidArgument),  // wrap at 2^64
        (top - 4095, 8192, .invalidArgument), (top + 1, 4096, .invalidArgument),  // beyond the aperture
        (0xfee0_0000, 4096, .invalidArgument), (0xfedf_f000, 8192, .invalidArgument),  // interrupts
        (0xfeef_f000, 8192, .invalidArgument), (0xfedf_f000, 1 << 21, .invalidArgument),
        (0x10_0000, 16384, .fileExists), (0x10_1000, 4096, .fileExists), (0xf_f000, 8192, .fileExists),
        (0x10_3000, 8192, .fileExists), (0xf_f000, 32768, .fileExists),
      ]
      for (iova, byteCount, errno) in cases {
        let error = #expect(throws: KernelError.self) {
          _ = try space.expose(UnsharedMemory(byteCount: byteCount), access: .readWrite, at: IOVA(iova))
        }
        #expect(error?.errno == errno && error?.remedy != nil, "\(IOVA(iova)), \(byteCount) bytes")
        #expect(try Accounts(space) == before)
      }
      let narrow = #expect(throws: KernelError.self) {
        _ = try space.expose(UnsharedMemory(byteCount: 1 << 21), access: .readWrite, addressBits: 21)
      }
      #expect(narrow?.errno == .noSpace)
      #expect(try Accounts(space) == before)
      _ = try held.reclaim()
    }

    /// The kernel itself, past this library's own checks.
    @Test(arguments: LabFunction.modes)
    func theKernelRefusesThemToo(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      let before = try Accounts(space)
      let memory = try MappedMemory.anonymous(byteCount: 8192)
      let top = try #require(space.reservations.allowed.last).last.rawValue
      for (start, byteCount) in [
        (UInt64(0x10_0800), UInt64(4096)), (0x10_0000, 2048), (top + 1, 4096), (0xfee0_0000, 4096),
      ] {
        let range = try #require(IOVARange(start: IOVA(start), byteCount: byteCount))
        let error = #expect(throws: KernelError.self) {
          try unsafe space.mapPages(memory.baseAddress, to: range, access: .readWrite, sharing: .coherent)
        }
        #expect(error != nil, "\(range)")
        #expect(try Accounts(space) == before)
      }
    }

    /// 2 MiB where 1 MiB may be locked: the kernel pins a part, meets the limit, and gives it back.
    @Test(arguments: LabFunction.modes)
    func aLockLimitInTheMiddleOfARangeLeavesNothing(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      let before = try Accounts(space)
      let iova = IOVA(0x40_0000)
      try MemoryLockFixture.limited(to: 1 << 20) {
        for kind in [MemoryBacking.Kind.anonymous, .file] {
          let error = #expect(throws: KernelError.self) {
            _ = try space.expose(UnsharedMemory(byteCount: 1 << 21, kind: kind), access: .readWrite, at: iova)
          }
          #expect(error?.errno == .noMemory && error?.remedy?.contains("limit 1048576") == true)
        }
        #expect(space.listing.isEmpty)
        // What fits is mapped all the same, at the same place.
        _ = try space.expose(UnsharedMemory(byteCount: 1 << 19), access: .readWrite, at: iova).reclaim()
      }
      #expect(try Accounts(space) == before)
      _ = try space.expose(UnsharedMemory(byteCount: 1 << 21), access: .readWrite, at: iova).reclaim()
      #expect(try Accounts(space) == before)
    }

    typealias Fork = @convention(c) () -> pid_t

    /// A child runs while its parent writes: the device still sees the parent's pages.
    @Test(arguments: LabFunction.modes)
    func aForkDoesNotMoveThePages(_ mode: VFIOMode) throws {
      let edu = try EduStand(mode)
      for kind in [MemoryBacking.Kind.anonymous, .file] {
        let memory = try edu.device.addressSpace.exposeToEdu(UnsharedMemory(byteCount: 4096, kind: kind))
        memory.store(UInt64(0x1111), at: 0)
        // Swift hides fork, since a child may only make plain system calls. This one makes two.
        let symbol = unsafe dlsym(nil, "fork")
        let fork = unsafe unsafeBitCast(try #require(unsafe symbol), to: Fork.self)
        let pid = fork()
        if pid == 0 {
          usleep(600_000)
          _exit(7)
        }
        try #require(pid > 0)
        memory.store(UInt64(0x2222), at: 0)
        memory.syncForDevice()
        try edu.engine.load(from: memory.iova, byteCount: 64)
        try edu.engine.store(to: memory.iova(at: 2048), byteCount: 64)
        memory.syncForCPU()
        let seen = memory.load(UInt64.self, at: 2048)
        #expect(seen == 0x2222, "the device read what the parent wrote, and the parent what the device wrote")
        var status: CInt = 0
        let isStillThere = unsafe waitpid(pid, &status, WNOHANG) == 0
        #expect(isStillThere, "the child ran all the time")
        while unsafe waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        #expect(status >> 8 & 0xff == 7)
        _ = try memory.reclaim()
      }
    }

    /// Memory that is taken back, or dropped, under a device that is about to write: unmapped first.
    @Test(arguments: LabFunction.modes, [true, false])
    func memoryIsUnmappedUnderARunningDevice(_ mode: VFIOMode, byDropping: Bool) throws {
      let edu = try EduStand(mode)
      let space = edu.device.addressSpace
      // edu writes 100 ms after it was told to; on a machine that stalls for so long, try again.
      for _ in 0..<10 {
        let source = try space.exposeToEdu(UnsharedMemory(byteCount: 4096))
        source.store(UInt64(0x1111), at: 0)
        try edu.engine.load(from: source.iova, byteCount: 64)
        let before = try Accounts(space)
        let memory = try space.exposeToEdu(UnsharedMemory(byteCount: 4096))
        let iova = memory.iova
        edu.engine.start(.toMemory, iova, byteCount: 64)
        var back: UnsharedMemory?
        if byDropping { _ = consume memory } else { back = try memory.reclaim() }
        guard edu.engine.isRunning else { continue }
        try edu.engine.wait()
        if var back = back.take() {
          let seen = unsafe back.bytes.unsafeLoad(fromByteOffset: 0, as: UInt64.self)
          #expect(seen == 0)
        }
        #expect(try Accounts(space) == before && space.exposure(at: iova) == nil)
        // The device lives on.
        try edu.engine.store(to: source.iova(at: 1024), byteCount: 64)
        let again = source.load(UInt64.self, at: 1024)
        #expect(again == 0x1111)
        return
      }
      Issue.record("in ten tries the device was never still running")
    }

    @Test(arguments: LabFunction.modes)
    func hugePagesAreReachedThroughout(_ mode: VFIOMode) throws {
      let edu = try EduStand(mode)
      let space = edu.device.addressSpace
      let before = try Accounts(space)
      let unshared = try UnsharedMemory(pageCount: PageCount(2), pageSize: .huge2MiB)
      #expect(unshared.byteCount == 4 << 20 && unshared.backing.pageSize == .huge2MiB)
      let memory = try space.exposeToEdu(unshared)
      #expect(memory.iova.rawValue % (1 << 21) == 0)
      for place in [0, (2 << 20) - 64, 2 << 20, (4 << 20) - 64] {
        memory.store(UInt64(place + 7), at: place)
        try edu.engine.load(from: memory.iova(at: place), byteCount: 64)
        memory.store(UInt64(0), at: place)
        try edu.engine.store(to: memory.iova(at: place), byteCount: 64)
        let seen = memory.load(UInt64.self, at: place)
        #expect(seen == UInt64(place + 7))
      }
      // One page of the memory is shared with the same space, in the middle of a huge one.
      let share = try memory.share(with: space, bytes: 0x30_0000..<0x30_1000, access: .read, addressBits: 28)
      memory.store(UInt64(0x3333), at: 0x30_0000)
      try edu.engine.load(from: share.iova, byteCount: 64)
      try edu.engine.store(to: memory.iova, byteCount: 64)
      let first = memory.load(UInt64.self, at: 0)
      #expect(first == 0x3333)
      try share.unshare()
      let back = try memory.reclaim()
      #expect(try back.facts.reservedHugeByteCount >= 4 << 20)
      #expect(try Accounts(space) == before)
    }

    /// More huge pages than the machine has: told in numbers, or the next smaller page that there is.
    @Test func withoutHugePagesTheReserveIsNamed() throws {
      let error = #expect(throws: KernelError.self) {
        _ = try UnsharedMemory(byteCount: 1 << 30, pageSize: .huge2MiB)
      }
      #expect(error?.errno == .noMemory && error?.remedy?.contains("512 free huge pages") == true)
      let device = try LabFunction.open(LabFunction.edu, .type1v2)
      let smaller = try UnsharedMemory(byteCount: 256 << 20, trying: MemoryPageSize.cascade)
      #expect(smaller.backing.pageSize == .transparent2MiB)
      _ = try device.addressSpace.expose(smaller, access: .readWrite).reclaim()
    }
  }
}
