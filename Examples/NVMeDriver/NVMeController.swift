// SPDX-License-Identifier: Apache-2.0
public import DMACore
internal import DeviceRegisters
internal import DriverCore
public import LinuxHandles
internal import PCIBus
internal import Synchronization

/// What a driver asks of a controller beyond its needs.
public struct NVMeOptions: Hashable, Sendable {
  /// How many queue pairs are wanted; the controller may grant fewer.
  public var queuePairCount = 1
  /// The limit of a command, before it is aborted; the controller is reset where that does not help.
  public var patience = Duration.seconds(10)
  /// Whether doorbells go through memory where the controller offers that, which saves register accesses that an
  /// emulated controller is slow at.
  public var usesDoorbellBuffer = false
  /// Whether data that fill more than two pages are named by one SGL descriptor where the controller knows them; it need
  /// not fetch a list then.
  public var usesScatterGatherLists = true

  /// The defaults.
  public init() {}

  /// Some of them changed.
  public init(
    queuePairCount: Int = 1, patience: Duration = .seconds(10), usesDoorbellBuffer: Bool = false,
    usesScatterGatherLists: Bool = true
  ) {
    self.queuePairCount = queuePairCount
    self.patience = patience
    self.usesDoorbellBuffer = usesDoorbellBuffer
    self.usesScatterGatherLists = usesScatterGatherLists
  }
}

/// A controller that is up: what its threads share.
///
/// Everything here may be called from any thread, and takes a lock; commands that move data go through an
/// ``NVMeQueuePair`` each, which takes none.
public final class NVMeController: Sendable {
  /// What it said before it was enabled.
  public let capabilities: NVMeCapabilities
  /// What it is.
  public let identity: NVMeIdentity
  /// How many queue pairs it grants.
  public let queuePairCount: Int
  /// The most bytes that one command moves: what the controller allows, and what a page of PRP entries names.
  public let maximumTransfer: Int
  /// Whether one descriptor names data in one piece, however long.
  let namesByDescriptor: Bool
  let admin: NVMeAdmin
  let space: any AddressSpace
  let node: NUMANode?
  private let registers: NVMeRegisterFile
  private let shadow: NVMeShadowDoorbells?
  private let memoryBuffer: NVMeMemoryBuffer?
  private let free: Mutex<FreeParts>

  /// What queue pairs take and give back.
  struct FreeParts: Sendable {
    var queueIDs: [Int]
    var vectors: [NVMeVector]
  }

  /// Brings a controller up.
  init<Function: PCIFunction & ~Copyable>(
    of function: borrowing Function, _ options: NVMeOptions
  ) throws(NVMeError) {
    let window = try NVMeError.wrappingKernel { () throws(KernelError) in try function.mapBAR(.bar0) }
    let capabilities = try Self.capabilities(window)
    let registers = NVMeRegisterFile(window, doorbellStride: capabilities.doorbellStride)
    guard registers.queueCount >= 2 else {
      throw NVMeError(.wrongDevice, "BAR0 of \(registers.window.byteCount) bytes has no doorbells")
    }
    let admin = try NVMeError.wrappingKernel { () throws(KernelError) in
      try NVMeAdmin(of: function, registers, capabilities, patience: options.patience)
    }
    // What an earlier driver let it do must end before it may do transfers again.
    try admin.stop()
    try NVMeError.wrappingKernel { () throws(KernelError) in try function.setBusMaster(true) }
    let buffer = capabilities.hasMemoryBuffer ? try NVMeMemoryBuffer.open(of: function, registers) : nil
    try admin.start()
    let identity = NVMeIdentity(
      try admin.execute(.identify, NVMeCommand(.identify, word10: 1), receiving: 4096).bytes)
    let wanted = min(max(options.queuePairCount, 1), registers.queueCount - 1, 0xfffe)
    let vectors = try Self.arm(wanted + 1, of: function)
    self.capabilities = capabilities
    self.identity = identity
    self.admin = admin
    self.registers = registers
    memoryBuffer = buffer
    (space, node) = (function.addressSpace, function.resources.node)
    let page = capabilities.minimumPageByteCount
    namesByDescriptor = options.usesScatterGatherLists && identity.hasScatterGatherLists
    maximumTransfer = min(identity.maximumTransfer(ofPagesOf: page) ?? .max, Self.listTransfer)
    shadow =
      options.usesDoorbellBuffer && identity.hasDoorbellBuffer
      ? try NVMeShadowDoorbells(
        in: function.addressSpace, near: function.resources.node, stride: capabilities.doorbellStride)
      : nil
    let count = min(wanted, try Self.requestQueues(wanted, admin), (shadow?.queueCount ?? .max) - 1)
    queuePairCount = count
    free = Mutex(FreeParts(queueIDs: Array((1...count).reversed()), vectors: vectors))
    try configureDoorbells()
  }

  /// A list page has 512 entries, and the first page may begin anywhere.
  private static let listTransfer = 512 * 4096

  private static func capabilities(_ window: borrowing RegisterWindow) throws(NVMeError) -> NVMeCapabilities {
    let capabilities = NVMeCapabilities(
      rawValue: window.read(NVMeRegisters.capabilities), version: window.read(NVMeRegisters.version))
    guard capabilities.rawValue != .max else { throw NVMeError(.removed, "BAR0 reads as all ones") }
    guard capabilities.hasNVMCommands, capabilities.maximumEntryCount >= 2,
      capabilities.minimumPageByteCount == 4096
    else {
      throw NVMeError(.wrongDevice, "CAP is 0x\(String(capabilities.rawValue, radix: 16))")
    }
    return capabilities
  }

  /// Vector 0 is the admin queue's, which is polled.
  private static func arm<Function: PCIFunction & ~Copyable>(
    _ count: Int, of function: borrowing Function
  ) throws(NVMeError) -> [NVMeVector] {
    let count = min(count, function.resources.vectorCount(of: .msix))
    guard count > 1 else { return [] }
    let armed = try NVMeError.wrappingKernel { () throws(KernelError) in
      try function.armInterrupts(.msix, count: count)
    }
    return (1..<count).reversed().map { NVMeVector(armed.take($0)) }
  }

  private static func requestQueues(_ count: Int, _ admin: NVMeAdmin) throws(NVMeError) -> Int {
    let wanted = UInt32(count - 1)
    let granted = try admin.execute(
      .setFeatures,
      NVMeCommand(
        .setFeatures, word10: UInt32(NVMeFeature.numberOfQueues.rawValue), word11: wanted << 16 | wanted)
    ).result
    return Int(min(granted & 0xffff, granted >> 16)) + 1
  }

  private func configureDoorbells() throws(NVMeError) {
    guard let shadow else { return }
    for id in 0..<shadow.queueCount { shadow.clear(queue: id) }
    var command = NVMeCommand(.doorbellBufferConfig)
    command.setPages(shadow.doorbells.iova.rawValue, shadow.eventIndices.iova.rawValue)
    _ = try admin.execute(.doorbellBufferConfig, command)
  }

  // MARK: Life

  /// Resets the controller and brings it up again, without queues.
  ///
  /// Every queue pair must ``NVMeQueuePair/recover()`` before it is used again; the commands that were on their way
  /// are over, done or not.
  /// - Throws: `NVMeError` of code `.notStopped` where the controller does not stop: it is lost, and what it was given
  ///   must not be used for anything else. Any other: it is stopped, and stays so.
  public func reset() throws(NVMeError) {
    try admin.start()
    _ = try Self.requestQueues(queuePairCount, admin)
    try configureDoorbells()
  }

  /// Lets the controller write what it holds (CC.SHN) and stops it; ``reset()`` brings it up again.
  public func shutDown() throws(NVMeError) { try admin.shutDown() }

  /// Says that the function was reset.
  func functionWasReset() throws(NVMeError) {
    admin.functionWasReset()
    if let memoryBuffer, !memoryBuffer.enable(registers) {
      throw NVMeError(.deviceFault, "the controller's memory buffer is gone")
    }
    try reset()
  }

  /// Counts resets.
  var life: Int { admin.life.load(ordering: .sequentiallyConsistent) }

  // MARK: Memory

  /// Whether it has memory of its own in which submission queues may lie.
  public var hasMemoryBuffer: Bool { memoryBuffer != nil }

  /// Lets the controller reach memory: its data for as long as the value lives.
  /// - Throws: `KernelError` as ``AddressSpace/expose(_:access:sharing:at:addressBits:)`` has it.
  public func expose(
    _ memory: consuming UnsharedMemory, access: DMAAccess, sharing: DMASharing = .streaming
  ) throws(KernelError) -> DMAMemory {
    try space.expose(memory, access: access, sharing: sharing)
  }

  // MARK: Queues

  /// Where a submission queue lies.
  public enum QueuePlace: Hashable, Sendable {
    /// In memory of this process.
    case hostMemory
    /// In the controller's own memory, from which it need not fetch commands.
    case controllerMemory
  }

  /// Makes a queue pair for one thread.
  /// - Parameters:
  ///   - depth: How many commands may be on their way at least; ``NVMeQueuePair/depth`` tells how many it became.
  ///   - place: Where the submission queue is to lie.
  ///   - waiting: How its calls wait for completions.
  /// - Throws: `NVMeError`: `.unsupported` where all queue pairs are taken, for a depth that the controller has not,
  ///   without a memory buffer, or without a vector to wait for.
  public func makeQueuePair(
    depth: Int = 32, place: QueuePlace = .hostMemory, waiting: NVMeWaiting = .polling
  ) throws(NVMeError) -> NVMeQueuePair {
    guard depth >= 1, depth < capabilities.greatestEntryCount else {
      throw NVMeError(
        .unsupported, "a queue of \(depth); the controller has up to \(capabilities.greatestEntryCount - 1)")
    }
    // The power of two above.
    let entryCount = 1 << (Int.bitWidth - depth.leadingZeroBitCount)
    var part: NVMeMemoryBuffer.Place?
    if place == .controllerMemory {
      part = memoryBuffer?.take(byteCount: entryCount * 64)
      guard part != nil else { throw NVMeError(.unsupported, "no room in a memory buffer of the controller") }
    }
    let inController = part
    let memory = try NVMeError.wrappingKernel { () throws(KernelError) in
      try NVMeQueueMemory(entryCount: entryCount, in: space, near: node, place: inController)
    }
    let taken = free.withLock { free -> (Int, NVMeVector?)? in
      guard waiting == .polling || !free.vectors.isEmpty, let id = free.queueIDs.popLast() else { return nil }
      return (id, waiting == .polling ? nil : free.vectors.popLast())
    }
    guard let (id, vector) = taken else {
      throw NVMeError(.unsupported, "no queue or no interrupt vector is left; there are \(queuePairCount)")
    }
    let resources = NVMeQueueResources(
      id: id, memory, registers, shadow: shadow, controller: self, vector: vector)
    try createQueues(resources)
    return NVMeQueuePair(resources)
  }

  /// Makes the queues in the controller.
  func createQueues(_ resources: NVMeQueueResources) throws(NVMeError) {
    let (id, memory, life) = (UInt32(resources.id), resources.memory, life)
    shadow?.clear(queue: resources.id)
    let size = UInt32(memory.entryCount - 1) << 16 | id
    // Contiguous memory is bit 0, interrupts bit 1.
    let interrupt = resources.vector.map { UInt32($0.index) << 16 | 2 } ?? 0
    var completions = NVMeCommand(.createCompletionQueue, word10: size, word11: interrupt | 1)
    completions.setPages(memory.completions.iova.rawValue, 0)
    // From here on the controller may know the memory, whatever it answers.
    resources.life.store(life, ordering: .relaxed)
    _ = try admin.execute(.createCompletionQueue, completions)
    var submissions = NVMeCommand(.createSubmissionQueue, word10: size, word11: id << 16 | 1)
    submissions.setPages(memory.submissionAddress.rawValue, 0)
    _ = try admin.execute(.createSubmissionQueue, submissions)
  }

  /// Deletes queues in the controller.
  /// - Returns: Whether it is certain that the controller uses their memory no more.
  func deleteQueues(_ id: Int, madeIn queueLife: Int) -> Bool {
    guard queueLife != 0 else { return true }
    if queueLife == life {
      let word = UInt32(id)
      do throws(NVMeError) {
        do throws(NVMeError) {
          _ = try admin.execute(.deleteSubmissionQueue, NVMeCommand(.deleteSubmissionQueue, word10: word))
        } catch {
          guard error.status?.reason == .invalidQueueID else { throw error }
        }
        do throws(NVMeError) {
          _ = try admin.execute(.deleteCompletionQueue, NVMeCommand(.deleteCompletionQueue, word10: word))
        } catch {
          guard error.status?.reason == .invalidQueueID else { throw error }
        }
        return true
      } catch {
        _ = try? admin.stop()
      }
    }
    return admin.condition != .lost
  }

  func giveBack(queueID: Int, _ vector: NVMeVector?) {
    free.withLock { free in
      free.queueIDs.append(queueID)
      if let vector { free.vectors.append(vector) }
    }
  }
}

/// How a queue pair's calls wait for completions.
public enum NVMeWaiting: Hashable, Sendable {
  /// They look again and again: the fastest, at the price of a processor.
  case polling
  /// They sleep until the queue's interrupt comes.
  case interrupts
}

/// An interrupt vector that goes from queue pair to queue pair.
final class NVMeVector: Sendable {
  let vector: InterruptVector
  var index: Int { vector.index }
  init(_ vector: consuming InterruptVector) { self.vector = vector }
}
