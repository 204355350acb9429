// SPDX-License-Identifier: Apache-2.0
import DMACore
import DriverCore
import LinuxHandles
import NVMeDriver
import Testing

/// A controller that is up, and namespace 1.
struct NVMeStand {
  let controller: NVMeController
  let namespace: NVMeNamespace

  init(_ controller: NVMeController) throws {
    self.controller = controller
    namespace = try controller.namespace(1)
  }

  func run(_ check: NVMeCheck) throws {
    switch check {
    case .identifies: try identify()
    case .listsNamespaces: try listNamespaces()
    case .refusesMissingNamespaces: try refuseMissingNamespaces()
    case .readsFeatures: try readFeatures()
    case .readsLogs: try readLogs()
    case .takesEvents: #expect(try controller.takeEvents().isEmpty)
    case .refusesBlocksBeyondTheEnd: try refuseBlocksBeyondTheEnd()
    case .theControllerRefusesThemToo: try letTheControllerRefuse()
    case .refusesMisalignedMemory: try refuseMisalignedMemory()
    case .refusesOtherQueues: try refuseOtherQueues()
    case .readsByInterrupts: try read(.interrupts)
    case .readsInBatches: try readInBatches()
    case .readsBesideOneAnother: try readBesideOneAnother()
    case .readsOnSeveralThreads: try readOnSeveralThreads()
    case .comesBackFromAReset: try comeBack { try controller.reset() }
    case .comesBackFromAShutdown:
      try comeBack {
        try controller.shutDown()
        try controller.reset()
      }
    case .readsWhatWasWritten, .worksByDoorbellsInMemory: try writeAndRead(.polling)
    case .writesByInterrupts: try writeAndRead(.interrupts)
    case .splitsLongTransfers: try splitLongTransfers()
    case .movesUnalignedData: try moveUnalignedData()
    case .namesPagesInLists:
      try splitLongTransfers()
      try moveUnalignedData()
    case .movesUnsharedMemory: try moveUnsharedMemory()
    case .movesBorrowedMemory: try moveBorrowedMemory()
    case .refusesOtherBorrowedMemory: try refuseOtherBorrowedMemory()
    case .movesScatteredData: try moveScatteredData()
    case .comparesBlocks: try compareBlocks()
    case .clearsBlocks: try clearBlocks()
    case .deallocatesBlocks: try deallocateBlocks()
    case .worksFromTheControllersMemory: try workFromTheControllersMemory()
    case .readsAsynchronously, .resetsTheFunction, .givesTheFunctionBack:
      Issue.record("\(check) is not one of the stand")
    }
  }

  // MARK: Fixtures

  /// Memory for data that the controller reads and writes.
  func memory(_ byteCount: Int) throws -> DMAMemory {
    try controller.expose(UnsharedMemory(byteCount: byteCount), access: .readWrite)
  }

  /// The four bytes that belong at a place, a multiple of 4: others at each place and for each seed.
  static func word(_ place: Int, _ seed: UInt32) -> UInt32 {
    (UInt32(truncatingIfNeeded: place) &+ 1) &* 0x9e37_79b1 ^ seed &* 0x0101_0101
  }

  func fill(_ memory: borrowing DMAMemory, seed: UInt32) {
    for place in stride(from: 0, to: memory.byteCount, by: 4) {
      memory.store(Self.word(place, seed), at: place)
    }
  }

  /// The first place in memory that has not what belongs there.
  func difference(in memory: borrowing DMAMemory, _ places: Range<Int>, seed: UInt32) -> Int? {
    var place = places.lowerBound
    while place < places.upperBound {
      if memory.load(UInt32.self, at: place) != Self.word(place, seed) { return place }
      place += 4
    }
    return nil
  }

  var blockByteCount: Int { namespace.blockByteCount }

  /// How many blocks so many bytes are.
  func blocks(_ byteCount: Int) -> Int { byteCount / blockByteCount }
}

/// Runs what must fail, and says how it failed.
func failure(_ body: () throws(NVMeError) -> Void) -> NVMeError? {
  do throws(NVMeError) {
    try body()
    Issue.record("nothing was thrown")
    return nil
  } catch {
    return error
  }
}
