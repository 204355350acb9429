// SPDX-License-Identifier: Apache-2.0
internal import CMMIO
public import LinuxHandles

/// Keeps accesses to one mapping of device memory from ending the process when the device does not answer.
///
/// The kernel answers an access to registers that it took away (device reset, memory decode off, device or
/// owner gone) with SIGBUS. Under a guard loads give all ones, stores go nowhere, and the fact is kept. Accesses
/// cost what they cost without a guard; the first guard of a process installs a handler of SIGBUS, which hands
/// what concerns no guard to whoever handled it before (SIGSEGV follows at the first guarded access that fails).
/// Works for each thread on its own.
///
/// A handler that is installed later and does not hand signals on takes the guards away.
@safe
public struct WindowGuard: ~Copyable, @unchecked Sendable {
  private let entry: OpaquePointer

  /// Guards a mapping until this value goes, which must be before the mapping does.
  /// - Throws: `KernelError` for `sigaction` or `mmap` when the first guard is made; `ENOMEM`.
  public init(of memory: borrowing MappedMemory) throws(KernelError) {
    var entry: OpaquePointer?
    let (base, count) = unsafe (memory.baseAddress, memory.byteCount)
    try kernelCall("sigaction", on: "SIGBUS") { unsafe cmmio_guard_open(base, UInt64(count), &entry) }
    guard let entry = unsafe entry else { preconditionFailure("an opened guard has an entry") }
    unsafe self.entry = unsafe entry
  }

  /// Where in the mapping, in bytes, the first access since the last call was that the device did not answer, or
  /// nil; and forgets it.
  ///
  /// The pages concerned stay dead until the file is mapped over them again.
  package borrowing func take() -> Int? {
    var offset: UInt64 = 0
    return unsafe cmmio_guard_take(entry, &offset) == 1 ? Int(offset) : nil
  }

  /// Makes ``take()`` answer the same once more.
  package borrowing func putBack(_ byteOffset: Int) { unsafe cmmio_guard_put_back(entry, UInt64(byteOffset)) }

  deinit { unsafe cmmio_guard_close(entry) }
}
