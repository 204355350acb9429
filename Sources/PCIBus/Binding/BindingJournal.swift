// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import LinuxHandles
internal import SystemPackage

/// The records on disk, one file for each function whose driver was changed: `run/swift-vfio/bindings/ADDRESS`.
///
/// A record is there, whole and synced, before the first change, and goes after the last step back. So a process
/// may be killed at any moment and another one still knows how things were.
struct BindingJournal {
  static let home = "run/swift-vfio"
  static let folder = "\(home)/bindings"

  let root: SystemRoot
  let bootID: String

  init(root: SystemRoot) throws(KernelError) {
    self.root = root
    bootID = try root.text("proc/sys/kernel/random/boot_id").trimmingLineEnd()
  }

  /// Makes the folders where they are not.
  static func makeFolders(_ root: SystemRoot) throws(KernelError) {
    for folder in [home, folder] {
      let path = root.path(folder)
      try kernelCall("mkdir", on: path) { () -> CInt in
        let result = unsafe abi_mkdir(path, 0o755)
        return result == -Errno.fileExists.rawValue ? 0 : result
      }
    }
  }

  /// The record of a function, of whichever boot.
  /// - Throws: `KernelError`: `EBADMSG` for a file that is no record.
  func record(of address: PCIAddress) throws(KernelError) -> BindingRecord? {
    let file = "\(Self.folder)/\(address)"
    guard try root.exists(file) else { return nil }
    let record = BindingRecord(try root.text(file))
    guard let record, record.address == address else {
      throw KernelError(
        operation: "read journal", errno: .badMessage, subject: root.path(file),
        remedy: "The file is damaged. See to the function's driver by hand and remove the file.")
    }
    return record
  }

  /// The record of a function if it was made in this boot.
  func validRecord(of address: PCIAddress) throws(KernelError) -> BindingRecord? {
    guard let record = try record(of: address), record.bootID == bootID else { return nil }
    return record
  }

  /// The functions that have a record, sorted.
  func addresses() throws(KernelError) -> [PCIAddress] {
    try root.names(in: Self.folder).compactMap { PCIAddress($0) }.sorted()
  }

  /// Puts a record on disk; when this returns, it is there, and at no moment is a part of it.
  func write(_ record: BindingRecord) throws(KernelError) {
    let final = root.path("\(Self.folder)/\(record.address)")
    // The lock is held, so nobody else uses this name; what a killed process left is overwritten.
    let draft = root.path("\(Self.folder)/.draft")
    let descriptor = OwnedDescriptor(
      adopting: try kernelCall("open", on: draft) { unsafe abi_create(draft, O_WRONLY | O_TRUNC, 0o644) })
    let fd = descriptor.rawValue
    try descriptor.writeWhole(record.description, on: draft)
    try kernelCall("fsync", on: draft) { abi_fsync(fd) }
    try descriptor.close()
    try kernelCall("rename", on: final) { unsafe abi_rename(draft, final) }
    try syncFolder()
  }

  /// Takes a record away; nothing happens where there is none.
  func remove(_ address: PCIAddress) throws(KernelError) {
    let path = root.path("\(Self.folder)/\(address)")
    try kernelCall("unlink", on: path) { () -> CInt in
      let result = unsafe abi_unlink(path)
      return result == -Errno.noSuchFileOrDirectory.rawValue ? 0 : result
    }
    try syncFolder()
  }

  private func syncFolder() throws(KernelError) {
    let path = root.path(Self.folder)
    let descriptor = OwnedDescriptor(
      adopting: try kernelCall("open", on: path) { unsafe abi_open(path, O_RDONLY | O_DIRECTORY) })
    let fd = descriptor.rawValue
    try kernelCall("fsync", on: path) { abi_fsync(fd) }
    try descriptor.close()
  }
}
