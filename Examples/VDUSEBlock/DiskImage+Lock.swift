// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import LinuxHandles
import SystemPackage

extension DiskImage {
  /// Opens a file that nobody else writes, or, where it is only read, that nobody writes at all.
  static func openLocked(_ path: String, for access: FileAccess) throws(KernelError) -> OwnedDescriptor {
    do throws(KernelError) {
      let file = try OwnedDescriptor.open(path, for: access)
      let fd = file.rawValue
      let kind = access == .read ? LOCK_SH : LOCK_EX
      try kernelCall("flock", on: path) { abi_flock(fd, kind | LOCK_NB) }
      return file
    } catch {
      switch error.errno {
      case .readOnlyFileSystem,
        .permissionDenied where access != .read:
        throw error.advising("an image that cannot be written is served with --read-only")
      case .wouldBlock: throw error.advising("another process serves this image")
      default: throw error
      }
    }
  }
}
