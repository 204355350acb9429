// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import LinuxHandles

@inline(never)
func memoryEight(_ memory: borrowing DMAMemory, _ count: UInt32) -> UInt64 {
  var sum: UInt64 = 0
  var index: UInt32 = 0
  while index != count {
    memory.store(UInt64(index), at: 0)
    memory.store(UInt64(index), at: 8)
    memory.store(index, at: 16)
    memory.store(index, at: 20)
    memory.store(UInt16(truncatingIfNeeded: index), at: 24)
    memory.store(UInt16(truncatingIfNeeded: index), at: 26)
    memory.store(UInt64(index), at: 32)
    memory.store(index, at: 40)
    sum &+= memory.load(UInt64.self, at: 0)
    sum &+= memory.load(UInt64.self, at: 8)
    sum &+= UInt64(memory.load(UInt32.self, at: 16))
    sum &+= UInt64(memory.load(UInt32.self, at: 20))
    sum &+= UInt64(memory.load(UInt16.self, at: 24))
    sum &+= UInt64(memory.load(UInt16.self, at: 26))
    sum &+= memory.load(UInt64.self, at: 32)
    sum &+= UInt64(memory.load(UInt32.self, at: 40))
    index &+= 1
  }
  return sum
}

/// As a driver uses a ring: places known at run time only, a flag that is written last and read first.
@inline(never)
func memoryRing(_ memory: borrowing DMAMemory, _ count: UInt32) -> UInt64 {
  var sum: UInt64 = 0
  var index: UInt32 = 0
  while index != count {
    let entry = Int(index & 255) &<< 4
    memory.store(UInt64(index), at: entry)
    memory.store(index, at: entry &+ 8)
    memory.store(UInt16(truncatingIfNeeded: index), at: entry &+ 12, ordering: .releasing)
    sum &+= UInt64(memory.load(UInt16.self, at: entry &+ 12, ordering: .acquiring))
    index &+= 1
  }
  return sum
}

/// Memory goes to a device that there is not, and comes back: what is left is the library's own work.
@inline(never)
func exposeAndReclaim(_ memory: inout UnsharedMemory?, _ space: any AddressSpace, _ count: UInt32) -> UInt64 {
  var sum: UInt64 = 0
  var index: UInt32 = 0
  do throws(KernelError) {
    while index != count {
      guard let mine = memory.take() else { return 0 }
      let exposed = try space.expose(mine, access: .readWrite)
      sum &+= exposed.iova.rawValue
      memory = try exposed.reclaim()
      index &+= 1
    }
  } catch {
    return 0
  }
  return sum
}
