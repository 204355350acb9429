// SPDX-License-Identifier: Apache-2.0
internal import DeviceRegisters

/// Eight registers, declared as drivers declare theirs.
enum StandRegisters {
  static let a = Register32(byteOffset: 0x00, access: .readWrite)
  static let b = Register32(byteOffset: 0x04, access: .readWrite)
  static let c = Register32(byteOffset: 0x08, access: .readWrite)
  static let d = Register32(byteOffset: 0x20, access: .readWrite)
  static let e = Register32(byteOffset: 0x24, access: .readWrite)
  static let f = Register32(byteOffset: 0x60, access: .readWrite)
  static let g = Register32(byteOffset: 0x64, access: .readWrite)
  static let h = Register32(byteOffset: 0x80, access: .readWrite)
}

// Each loop is its own function of the binary: the profiler and hotcheck find it by its name. The loops over
// the two kinds of window are written out twice, because a protocol over both would be another thing to measure.

@inline(never)
func mappedEight(_ window: borrowing MappedWindow, _ count: UInt32) -> UInt64 {
  var sum: UInt32 = 0
  var index: UInt32 = 0
  while index != count {
    window.write(index, to: StandRegisters.a)
    window.write(index, to: StandRegisters.b)
    window.write(index, to: StandRegisters.c)
    window.write(index, to: StandRegisters.d)
    window.write(index, to: StandRegisters.e)
    window.write(index, to: StandRegisters.f)
    window.write(index, to: StandRegisters.g)
    window.write(index, to: StandRegisters.h)
    sum &+= window.read(StandRegisters.a)
    sum &+= window.read(StandRegisters.b)
    sum &+= window.read(StandRegisters.c)
    sum &+= window.read(StandRegisters.d)
    sum &+= window.read(StandRegisters.e)
    sum &+= window.read(StandRegisters.f)
    sum &+= window.read(StandRegisters.g)
    sum &+= window.read(StandRegisters.h)
    index &+= 1
  }
  return UInt64(sum)
}

@inline(never)
func mappedOne(_ window: borrowing MappedWindow, _ count: UInt32) -> UInt64 {
  var sum: UInt32 = 0
  var index: UInt32 = 0
  while index != count {
    window.write(index, to: StandRegisters.d)
    sum &+= window.read(StandRegisters.e)
    index &+= 1
  }
  return UInt64(sum)
}

@inline(never)
func windowEight(_ window: borrowing RegisterWindow, _ count: UInt32) -> UInt64 {
  var sum: UInt32 = 0
  var index: UInt32 = 0
  while index != count {
    window.write(index, to: StandRegisters.a)
    window.write(index, to: StandRegisters.b)
    window.write(index, to: StandRegisters.c)
    window.write(index, to: StandRegisters.d)
    window.write(index, to: StandRegisters.e)
    window.write(index, to: StandRegisters.f)
    window.write(index, to: StandRegisters.g)
    window.write(index, to: StandRegisters.h)
    sum &+= window.read(StandRegisters.a)
    sum &+= window.read(StandRegisters.b)
    sum &+= window.read(StandRegisters.c)
    sum &+= window.read(StandRegisters.d)
    sum &+= window.read(StandRegisters.e)
    sum &+= window.read(StandRegisters.f)
    sum &+= window.read(StandRegisters.g)
    sum &+= window.read(StandRegisters.h)
    index &+= 1
  }
  return UInt64(sum)
}

@inline(never)
func windowOne(_ window: borrowing RegisterWindow, _ count: UInt32) -> UInt64 {
  var sum: UInt32 = 0
  var index: UInt32 = 0
  while index != count {
    window.write(index, to: StandRegisters.d)
    sum &+= window.read(StandRegisters.e)
    index &+= 1
  }
  return UInt64(sum)
}
