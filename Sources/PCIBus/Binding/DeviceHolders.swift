// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles

/// A process that has a file open.
public struct DeviceHolder: Hashable, Sendable, CustomStringConvertible {
  /// Its number.
  public let processID: Int
  /// Its name as `ps` shows it, at most 15 bytes.
  public let name: String

  /// Creates a holder from its parts.
  public init(processID: Int, name: String) {
    self.processID = processID
    self.name = name
  }

  /// `1234 (qemu-system-x86)`.
  public var description: String { "\(processID) (\(name))" }
}

/// Who has a device node open: names for an error that only says `EBUSY`.
public enum DeviceHolders {
  /// The processes that have a file open, by number.
  ///
  /// Only as much as this process may see: without root that is its user's own processes. A descriptor that VFIO
  /// made from another one (a device of a group) has no path; its process shows by the group's node.
  /// - Parameters:
  ///   - path: As the kernel names it: `/dev/vfio/12`.
  ///   - root: Where `/proc` is.
  /// - Source: `/proc/PID/fd`, proc(5).
  public static func processes(holding path: String, root: SystemRoot = .host) -> [DeviceHolder] {
    // For the text of an error: what cannot be read is passed over.
    let processes = ((try? root.names(in: "proc")) ?? []).compactMap { Int($0) }.sorted()
    return processes.filter { process in
      let folder = "proc/\(process)/fd"
      return ((try? root.names(in: folder)) ?? []).contains { name in
        (try? root.link("\(folder)/\(name)")) == path
      }
    }.map { process in
      DeviceHolder(processID: process, name: (try? root.attribute("proc/\(process)/comm")) ?? "?")
    }
  }
}
