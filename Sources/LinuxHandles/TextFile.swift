// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

/// Small text files of the kernel: procfs and sysfs attributes.
public enum TextFile {
  /// The whole content of a file as text; bytes that are no UTF-8 are repaired.
  /// - Parameter limit: Bytes after which reading stops.
  /// - Throws: `KernelError` for `open` or `read`, with the path as subject.
  public static func contents(of path: String, limit: Int = 1 << 22) throws(KernelError) -> String {
    let file = try OwnedDescriptor.open(path, for: .read)
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    let fd = file.rawValue
    while bytes.count < limit {
      // A plain read, not a positioned one: some files of procfs are made anew for each offset.
      let count = try kernelCall("read", on: path) {
        unsafe chunk.withUnsafeMutableBytes { unsafe abi_read(fd, $0.baseAddress, UInt64($0.count)) }
      }
      if count == 0 { break }
      bytes.append(contentsOf: chunk[..<Int(count)])
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
