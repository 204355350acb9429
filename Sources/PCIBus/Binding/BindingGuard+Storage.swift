// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import LinuxHandles
internal import SystemPackage

extension BindingGuard {
  /// What uses the disks of a function: mounts, swap, other block devices on top.
  ///
  /// None of it can be forced.
  func storageRefusals(of address: PCIAddress) throws(KernelError) -> [BindingRefusal] {
    let disks = try blockDevices(of: address)
    if disks.isEmpty { return [] }
    let mounts = try mounts()
    let swaps =
      try root.attribute("proc/swaps")?.split(separator: "\n").dropFirst()
      .compactMap { $0.split(whereSeparator: \.isWhitespace).first.map(String.init) } ?? []
    var refusals: [BindingRefusal] = []
    for disk in disks {
      let number = try root.attribute("sys/class/block/\(disk)/dev") ?? ""
      for mount in mounts {
        let isHere = try isNodeOf(disk, mount.source)
        guard isHere || mount.device == number else { continue }
        refusals.append(refusal(address, .mounted, "\(disk) is mounted on \(mount.point)", "Unmount it."))
      }
      for swap in swaps {
        guard try isNodeOf(disk, swap) else { continue }
        refusals.append(refusal(address, .swap, "\(disk) is swap space", "`swapoff \(swap)`."))
      }
      let holders = try root.names(in: "sys/class/block/\(disk)/holders")
      if !holders.isEmpty {
        let names = holders.joined(separator: ", ")
        refusals.append(refusal(address, .held, "\(disk) is a part of \(names)", "Take \(names) down."))
      }
      for volume in try btrfsVolumes(on: disk) {
        refusals.append(
          refusal(address, .mounted, "\(disk) is a part of the mounted btrfs volume \(volume)", "Unmount it.")
        )
      }
      if refusals.isEmpty, try isClaimed(disk) {
        refusals.append(
          refusal(
            address, .held, "\(disk) has an owner in the kernel (ZFS, or a mount in another namespace)",
            "Find and stop its user."))
      }
    }
    return refusals
  }

  private func refusal(
    _ address: PCIAddress, _ reason: BindingRefusal.Reason, _ detail: String, _ remedy: String
  ) -> BindingRefusal {
    BindingRefusal(address: address, reason: reason, detail: detail, remedy: remedy)
  }

  /// The disks and partitions of a function: those below it, and those of an NVMe subsystem it is a path of.
  ///
  /// With native multipath the disks are below /sys/devices/virtual/nvme-subsystem and only a link leads there.
  func blockDevices(of address: PCIAddress) throws(KernelError) -> [String] {
    let name = address.description
    var parents = [name]
    for subsystem in try root.names(in: "sys/class/nvme-subsystem") {
      for entry in try root.names(in: "sys/class/nvme-subsystem/\(subsystem)") {
        if try root.link("sys/class/nvme-subsystem/\(subsystem)/\(entry)")?.hasPathComponent(name) == true {
          parents.append(subsystem)
        }
      }
    }
    var disks: [String] = []
    for disk in try root.names(in: "sys/class/block") {
      guard let target = try root.link("sys/class/block/\(disk)") else { continue }
      if parents.contains(where: target.hasPathComponent) { disks.append(disk) }
    }
    return disks
  }

  private struct Mount {
    let device: String
    let point: String
    let source: String
  }

  /// The mounts of this process, and of process 1 where this one may see them.
  private func mounts() throws(KernelError) -> [Mount] {
    let own = try root.text("proc/self/mountinfo")
    let first = (try? root.text("proc/1/mountinfo")) ?? ""
    var seen: Set<Substring> = []
    return "\(own)\n\(first)".split(separator: "\n").filter { seen.insert($0).inserted }.compactMap { line in
      // ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS] - TYPE SOURCE OPTIONS; proc_pid_mountinfo(5)
      let fields = line.split(separator: " ")
      guard fields.count > 6, let dash = fields.dropFirst(6).firstIndex(of: "-"), dash + 2 < fields.count
      else {
        return nil
      }
      return Mount(device: String(fields[2]), point: String(fields[4]), source: String(fields[dash + 2]))
    }
  }

  /// Whether a path names the node of a block device.
  ///
  /// btrfs shows a number of its own in mountinfo, and swap shows none, so that only the name tells.
  private func isNodeOf(_ disk: String, _ path: String) throws(KernelError) -> Bool {
    guard path.hasPrefix("/dev/") else { return false }
    let node = "/dev/\(Self.nodeName(disk))"
    if path == node { return true }
    let whole = root.path(String(path.dropFirst()))
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = try kernelCall("realpath", on: whole) { () -> CInt in
      let result = unsafe buffer.withUnsafeMutableBytes {
        unsafe abi_realpath(whole, $0.baseAddress?.assumingMemoryBound(to: CChar.self))
      }
      return result == -Errno.noSuchFileOrDirectory.rawValue ? 0 : result
    }
    return String(decoding: buffer[..<Int(count)], as: UTF8.self).hasSuffix(node)
  }

  /// sysfs writes the slash of a node's name as an exclamation mark: `cciss!c0d0`.
  private static func nodeName(_ disk: String) -> String {
    String(disk.map { $0 == "!" ? "/" : $0 })
  }

  private func btrfsVolumes(on disk: String) throws(KernelError) -> [String] {
    var volumes: [String] = []
    for volume in try root.names(in: "sys/fs/btrfs") {
      if try root.names(in: "sys/fs/btrfs/\(volume)/devices").contains(disk) { volumes.append(volume) }
    }
    return volumes
  }

  /// Whether somebody in the kernel owns the device: what a mount would be told, asked without mounting.
  private func isClaimed(_ disk: String) throws(KernelError) -> Bool {
    let path = root.path("dev/\(Self.nodeName(disk))")
    do throws(KernelError) {
      try kernelCall("open", on: path) { unsafe abi_block_claim(path) }
      return false
    } catch {
      switch error.errno {
      case .resourceBusy: return true
      // Hidden multipath disks have no node; an empty drive has no medium; the rest shows as EACCES later.
      case .noSuchFileOrDirectory, .noSuchAddressOrDevice, .permissionDenied, .notDirectory: return false
      case .operationNotSupportedByDevice: return false
      default: throw error
      }
    }
  }
}
