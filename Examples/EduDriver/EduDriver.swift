// SPDX-License-Identifier: Apache-2.0
public import DMACore
internal import DeviceRegisters
public import DriverCore
internal import LinuxHandles
internal import PCIBus

/// A driver for QEMU's educational device, `-device edu`: the file to copy for a driver of your own.
///
/// It shows one of each: a register window, an interrupt of either kind with its cause, memory that changes
/// hands, and a deadline wherever the device is waited for. It imports DriverCore and no backend, so the same
/// code drives a real function through VFIO and a simulated one.
///
/// One task uses a driver at a time. Dropping it unmaps its memory before the function is let go.
public struct EduDriver<Function: PCIFunction & ~Copyable>: ~Copyable {
  private let registers: RegisterWindow
  /// One page that the device reaches, through which all transfers go.
  private let page: DMAMemory
  private let function: Function
  /// How long the device may take for one operation; QEMU's takes 100 ms for a transfer.
  private let patience: Duration

  /// Takes the function, checks that it is an edu device, and lets it do DMA.
  /// - Parameters:
  ///   - function: Consumed; ``relinquish()`` gives it back.
  ///   - patience: The limit for each operation; ten times what QEMU's device needs.
  ///   - addressBits: How many address bits the device drives: QEMU's property `dma_mask`.
  /// - Throws: `DriverError.wrongDevice` for another identification, `.removed` where nothing answers, or
  ///   what the kernel says to a BAR window and to 4 KiB of DMA memory.
  public init(
    _ function: consuming Function, patience: Duration = .seconds(1),
    addressBits: Int = 28
  ) throws(DriverError) {
    let registers = try Self.openRegisters(of: function)
    let identification = registers.read(EduRegisters.identification)
    guard identification != .max else {
      throw DriverError(code: .removed, detail: "BAR0 reads as all ones")
    }
    guard identification & 0xffff == 0x00ed else {
      throw DriverError(
        code: .wrongDevice, detail: "identification 0x\(String(identification, radix: 16)), not 0x....00ed")
    }
    let page = try Self.exposePage(
      in: function.addressSpace, addressBits, near: function.resources.node)
    try Self.enableTransfers(of: function)
    self.registers = registers
    self.page = page
    self.function = function
    self.patience = patience
  }

  private static func openRegisters(of function: borrowing Function) throws(DriverError) -> RegisterWindow {
    try DriverError.wrapping { () throws(KernelError) in try function.mapBAR(.bar0) }
  }

  private static func exposePage(
    in space: any AddressSpace, _ addressBits: Int, near node: NUMANode?
  ) throws(DriverError) -> DMAMemory {
    try DriverError.wrapping { () throws(KernelError) in
      try space.expose(
        UnsharedMemory(byteCount: EduRegisters.bufferByteCount, on: node), access: .readWrite,
        addressBits: addressBits)
    }
  }

  private static func enableTransfers(of function: borrowing Function) throws(DriverError) {
    try DriverError.wrapping { () throws(KernelError) in try function.setBusMaster(true) }
  }

  /// Stops the device's transfers and gives the function back.
  public consuming func relinquish() throws(DriverError) -> Function {
    try DriverError.wrapping { () throws(KernelError) in try function.setBusMaster(false) }
    return function
  }

  /// The device's identification and version: 0xRRrr00ed.
  public var identification: UInt32 { registers.read(EduRegisters.identification) }

  /// Whether the device answers `probe` with its bitwise inversion.
  public borrowing func isAlive(_ probe: UInt32) -> Bool {
    registers.write(probe, to: EduRegisters.liveness)
    return registers.read(EduRegisters.liveness) == ~probe
  }

  /// Lets the device compute `n!`, modulo 2^32.
  /// - Parameter kind: How it tells that it is done.
  /// - Throws: `DriverError.timedOut`, or `.removed`, or `.kernel` where the kind cannot be armed.
  public borrowing func factorial(of n: UInt32, by kind: InterruptKind) throws(DriverError) -> UInt32 {
    let deadline = Deadline(patience)
    let vector = try arm(kind)
    registers.write(EduRegisters.Status.interruptsWhenDone, to: EduRegisters.status)
    defer { registers.write(0, to: EduRegisters.status) }
    registers.write(n, to: EduRegisters.factorial)
    try waitFor(EduRegisters.Cause.factorial, on: vector, until: deadline)
    try deadline.poll("factorial of \(n)") { () throws(DriverError) in
      try present(registers.read(EduRegisters.status)) & EduRegisters.Status.isComputing == 0
    }
    return registers.read(EduRegisters.factorial)
  }
}

// MARK: - Interrupts

extension EduDriver where Function: ~Copyable {
  /// Raises interrupts one after the other, each served before the next.
  /// - Returns: How many arrived in all: `times`, where device and kernel count alike.
  /// - Throws: `DriverError.timedOut` where one does not come.
  public borrowing func raiseInterrupts(_ times: Int, by kind: InterruptKind) throws(DriverError) -> UInt64 {
    let vector = try arm(kind)
    let cause: UInt32 = 0x8000_0000
    var count: UInt64 = 0
    for _ in 0..<times {
      registers.write(cause, to: EduRegisters.interruptRaise)
      count += try waitFor(cause, on: vector, until: Deadline(patience))
    }
    return try count + vector.poll()
  }

  private borrowing func arm(_ kind: InterruptKind) throws(DriverError) -> InterruptVector {
    // Causes of an earlier operation that was given up would raise the line at once.
    registers.write(registers.read(EduRegisters.interruptStatus), to: EduRegisters.interruptAcknowledge)
    return try DriverError.wrapping { () throws(KernelError) in
      try function.armInterrupts(kind, count: 1).take(0)
    }
  }

  /// Waits for interrupts, and serves each, until one has the wanted cause.
  /// - Returns: How many came.
  @discardableResult
  private borrowing func waitFor(
    _ wanted: UInt32, on vector: borrowing InterruptVector, until deadline: Deadline
  ) throws(DriverError) -> UInt64 {
    var count: UInt64 = 0
    while true {
      count += try vector.wait(until: deadline)
      let causes = try serve(vector)
      if causes & wanted != 0 { return count }
    }
  }

  /// Serves one interrupt: reads its causes, clears them in the device, and lets the next one come.
  private borrowing func serve(_ vector: borrowing InterruptVector) throws(DriverError) -> UInt32 {
    let causes = try present(registers.read(EduRegisters.interruptStatus))
    registers.write(causes, to: EduRegisters.interruptAcknowledge)
    // A read follows the posted write: the line is low before the kernel listens to it again.
    _ = registers.read(EduRegisters.interruptStatus)
    try DriverError.wrapping { () throws(KernelError) in try vector.rearm() }
    return causes
  }

  /// A register that is never all ones while the device is there.
  private borrowing func present(_ value: UInt32) throws(DriverError) -> UInt32 {
    guard value == .max, registers.read(EduRegisters.identification) == .max else { return value }
    throw DriverError(code: .removed, detail: "registers read as all ones")
  }
}

// MARK: - Transfers

extension EduDriver where Function: ~Copyable {
  /// Copies bytes into the device's buffer.
  /// - Parameters:
  ///   - bytes: They fit the buffer of 4096 bytes from `bufferOffset` on.
  ///   - kind: How the device tells that it is done; nil to poll.
  /// - Throws: `DriverError.timedOut` or `.removed`.
  public borrowing func copyToDevice(
    _ bytes: RawSpan, at bufferOffset: Int = 0, by kind: InterruptKind? = nil
  ) throws(DriverError) {
    let place = Self.checked(bufferOffset, bytes.byteCount)
    page.copyIn(bytes)
    page.syncForDevice()
    try transfer(from: page.iova.rawValue, to: place, byteCount: bytes.byteCount, command: 0, by: kind)
  }

  /// Copies bytes out of the device's buffer; parameters and errors as for ``copyToDevice(_:at:by:)``.
  public borrowing func copyFromDevice(
    into bytes: inout MutableRawSpan, at bufferOffset: Int = 0, by kind: InterruptKind? = nil
  ) throws(DriverError) {
    let place = Self.checked(bufferOffset, bytes.byteCount)
    try transfer(
      from: place, to: page.iova.rawValue, byteCount: bytes.byteCount,
      command: EduRegisters.DMACommand.toMemory, by: kind)
    page.syncForCPU()
    page.copyOut(into: &bytes)
  }

  /// Lets the device write 64 bytes to an address that nobody mapped, to see that an IOMMU stops it.
  ///
  /// The device itself does not notice; it ends the transfer as any other.
  /// - Parameter iova: Below 2^28; higher bits do not leave the device.
  /// - Throws: `DriverError.timedOut` or `.removed`; it never waits for longer than the driver's patience.
  public borrowing func transferToUnmapped(_ iova: IOVA) throws(DriverError) {
    try transfer(
      from: EduRegisters.bufferAddress, to: iova.rawValue, byteCount: 64,
      command: EduRegisters.DMACommand.toMemory, by: nil)
  }

  /// Runs the DMA engine once; one address is the bus's, the other the device's own.
  private borrowing func transfer(
    from source: UInt64, to destination: UInt64, byteCount: Int, command: UInt64, by kind: InterruptKind?
  ) throws(DriverError) {
    guard byteCount > 0 else { return }
    let deadline = Deadline(patience)
    // The engine ignores all writes while it runs for an earlier transfer that was given up.
    try waitUntilIdle(deadline)
    registers.write(source, to: EduRegisters.dmaSource)
    registers.write(destination, to: EduRegisters.dmaDestination)
    registers.write(UInt64(byteCount), to: EduRegisters.dmaCount)
    let start = command | EduRegisters.DMACommand.run
    if let kind {
      let vector = try arm(kind)
      registers.write(start | EduRegisters.DMACommand.interruptsWhenDone, to: EduRegisters.dmaCommand)
      try waitFor(EduRegisters.Cause.dma, on: vector, until: deadline)
    } else {
      registers.write(start, to: EduRegisters.dmaCommand)
    }
    try waitUntilIdle(deadline)
  }

  private borrowing func waitUntilIdle(_ deadline: Deadline) throws(DriverError) {
    try deadline.poll("DMA transfer") { () throws(DriverError) in
      let command = registers.read(EduRegisters.dmaCommand)
      _ = try present(UInt32(truncatingIfNeeded: command))
      return command & EduRegisters.DMACommand.run == 0
    }
  }

  /// The device's own address of a part of its buffer.
  private static func checked(_ bufferOffset: Int, _ byteCount: Int) -> UInt64 {
    precondition(
      bufferOffset >= 0 && bufferOffset <= EduRegisters.bufferByteCount - byteCount,
      "the bytes fit the device's buffer of 4096 bytes")
    return EduRegisters.bufferAddress + UInt64(bufferOffset)
  }
}
