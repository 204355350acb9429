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
    case .movesUnsharedMemory: try moveUnsharedMemory()
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

  /// A byte that differs from block to block and from seed to seed.
  static func byte(_ place: Int, _ seed: UInt8) -> UInt8 {
    UInt8(truncatingIfNeeded: place &* 31 &+ place >> 9) ^ seed
  }

  func fill(_ memory: borrowing DMAMemory, seed: UInt8) {
    for place in 0..<memory.byteCount { memory.store(Self.byte(place, seed), at: place) }
  }

  /// The first place in memory that has not the byte of the seed.
  func difference(in memory: borrowing DMAMemory, _ places: Range<Int>, seed: UInt8) -> Int? {
    places.first { memory.load(UInt8.self, at: $0) != Self.byte($0, seed) }
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
