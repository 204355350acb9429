// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import LinuxHandles
internal import SystemPackage

// The few things that are done with small files. Paths are relative to the root, as `path(_:)` takes them.
extension SystemRoot {
  /// The whole text of a file.
  /// - Parameter isAttribute: Whether a read that is not filled gives the rest of it, as sysfs does.
  func text(_ relative: String, isAttribute: Bool = false) throws(KernelError) -> String {
    let path = path(relative)
    let descriptor = try OwnedDescriptor.open(path, for: .read)
    let fd = descriptor.rawValue
    var text: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: isAttribute ? 512 : 4096)
    while true {
      let count = try kernelCall("read", on: path) {
        unsafe chunk.withUnsafeMutableBytes { bytes in
          unsafe abi_read(fd, bytes.baseAddress, UInt64(bytes.count))
        }
      }
      if count == 0 { break }
      text += chunk[..<Int(count)]
      if isAttribute && Int(count) < chunk.count { break }
    }
    try descriptor.close()
    return String(decoding: text, as: UTF8.self)
  }

  /// The text of an attribute without its end of line; nil where there is no such file.
  func attribute(_ relative: String) throws(KernelError) -> String? {
    guard
      let text = try absentIsNil({ () throws(KernelError) in
        try text(relative, isAttribute: relative.hasPrefix("sys/"))
      })
    else { return nil }
    return text.trimmingLineEnd()
  }

  /// The target of a symbolic link as it is written; nil where there is no link.
  func link(_ relative: String) throws(KernelError) -> String? {
    let path = path(relative)
    // Those of sysfs are short; 4096 bytes are the longest path.
    var buffer = [UInt8](repeating: 0, count: 512)
    return try absentIsNil { () throws(KernelError) in
      while true {
        let count = try kernelCall("readlink", on: path) {
          unsafe buffer.withUnsafeMutableBytes { bytes in
            unsafe abi_readlink(path, bytes.baseAddress, UInt64(bytes.count))
          }
        }
        if count < buffer.count || buffer.count > 4096 {
          return String(decoding: buffer[..<Int(count)], as: UTF8.self)
        }
        buffer = [UInt8](repeating: 0, count: 4097)
      }
    }
  }

  /// The last component of a link's target: the name of a driver, a group or a function.
  func linkName(_ relative: String) throws(KernelError) -> String? {
    guard let target = try link(relative) else { return nil }
    // By bytes, since each opening of a device reads several of these.
    let bytes = target.utf8
    let start = bytes.lastIndex(of: UInt8(ascii: "/")).map { bytes.index(after: $0) } ?? bytes.startIndex
    return start == bytes.endIndex ? nil : String(target[start...])
  }

  /// Whether a file or folder is there.
  func exists(_ relative: String) throws(KernelError) -> Bool {
    let path = path(relative)
    return try absentIsNil { () throws(KernelError) in
      try kernelCall("access", on: path) { unsafe abi_access(path) }
    } != nil
  }

  /// The names in a folder, sorted; none where there is no such folder.
  func names(in relative: String) throws(KernelError) -> [String] {
    let path = path(relative)
    let opened = try absentIsNil { () throws(KernelError) in
      try kernelCall("open", on: path) { unsafe abi_open(path, O_RDONLY | O_DIRECTORY) }
    }
    guard let opened else { return [] }
    let descriptor = OwnedDescriptor(adopting: opened)
    var names: [String] = []
    var buffer = [UInt8](repeating: 0, count: 2048)
    while true {
      let count = try kernelCall("getdents64", on: path) {
        unsafe buffer.withUnsafeMutableBytes { bytes in
          unsafe abi_directory_read(opened, bytes.baseAddress, UInt64(bytes.count))
        }
      }
      if count == 0 { break }
      unsafe buffer.withUnsafeBytes { bytes in
        var offset: UInt64 = 0
        while offset < UInt64(count) {
          // SAFETY: the kernel filled `count` bytes with whole entries, each with its own length and a final 0.
          if let name = unsafe abi_directory_entry(bytes.baseAddress, &offset) {
            unsafe names.append(String(cString: name))
          }
        }
      }
    }
    try descriptor.close()
    return names.filter { $0 != "." && $0 != ".." }.sorted()
  }

  /// Writes an attribute in one call, as sysfs wants it.
  ///
  /// Closing says nothing about it: the attribute has acted when the write returns.
  func write(_ text: String, to relative: String) throws(KernelError) {
    let path = path(relative)
    let descriptor = OwnedDescriptor(
      adopting: try kernelCall("open", on: path) { unsafe abi_open(path, O_WRONLY | O_TRUNC) })
    try descriptor.writeWhole(text, on: path)
  }
}

extension OwnedDescriptor {
  /// Writes a short text in one call; a part of it is an error.
  borrowing func writeWhole(_ text: String, on path: String) throws(KernelError) {
    let fd = rawValue
    let bytes = Array(text.utf8)
    let count = try kernelCall("write", on: path) {
      unsafe bytes.withUnsafeBytes { unsafe abi_write(fd, $0.baseAddress, UInt64($0.count)) }
    }
    guard Int(count) == bytes.count else {
      throw KernelError(
        operation: "write", errno: .ioError, subject: path, remedy: "Only \(count) bytes were taken.")
    }
  }
}

/// Nil for what is not there: no such file, no such folder on the way, or no link at all (EINVAL).
private func absentIsNil<Value>(_ body: () throws(KernelError) -> Value) throws(KernelError) -> Value? {
  do throws(KernelError) {
    return try body()
  } catch {
    switch error.errno {
    case .noSuchFileOrDirectory, .notDirectory, .operationNotSupportedByDevice: return nil
    case .invalidArgument where error.operation == "readlink": return nil
    default: throw error
    }
  }
}

extension String {
  func trimmingLineEnd() -> String {
    var text = self[...]
    while let last = text.last, last.isNewline || last == " " || last == "\0" { text.removeLast() }
    return String(text)
  }

  /// Whether this path has a component of exactly this name.
  func hasPathComponent(_ name: String) -> Bool { split(separator: "/").contains { $0 == name } }
}
