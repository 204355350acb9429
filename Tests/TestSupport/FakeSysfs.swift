// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// A tree of files in a temporary folder that looks like `/sys`, `/proc` and `/run` of a machine.
///
/// Removed with its last holder. Set up by one thread before it is used.
public final class FakeSysfs: @unchecked Sendable {
  /// The folder that stands for `/`.
  public let path: String

  /// Lays out an empty machine: no functions, no drivers, nothing mounted.
  public init() throws {
    path = NSTemporaryDirectory() + "fake-sysfs-\(UUID().uuidString)"
    for folder in [
      "sys/bus/pci/devices", "sys/bus/pci/drivers", "sys/kernel/iommu_groups", "sys/class/block",
      "sys/class/net",
      "sys/devices/pci0000:00", "proc/self", "proc/net", "run", "dev",
    ] {
      try self.folder(folder)
    }
    try write("\n", to: "sys/bus/pci/drivers_probe")
    try write("22 1 0:21 / /proc rw,relatime - proc proc rw\n", to: "proc/self/mountinfo")
    try write("Filename\tType\tSize\tUsed\tPriority\n", to: "proc/swaps")
    try write("11111111-2222-3333-4444-555555555555\n", to: "proc/sys/kernel/random/boot_id")
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// The whole path of a file of the tree.
  public func absolute(_ relative: String) -> String { "\(path)/\(relative)" }

  /// Makes a folder and those above it.
  public func folder(_ relative: String) throws {
    try FileManager.default.createDirectory(atPath: absolute(relative), withIntermediateDirectories: true)
  }

  /// Writes a file, and makes the folders above it.
  public func write(_ text: String, to relative: String) throws {
    try write(Data(text.utf8), to: relative)
  }

  /// Writes a file of bytes, and makes the folders above it.
  public func write(_ data: Data, to relative: String) throws {
    try folder((relative as NSString).deletingLastPathComponent)
    try data.write(to: URL(fileURLWithPath: absolute(relative)))
  }

  /// Makes a symbolic link, and the folders above it; what was there goes.
  public func link(_ relative: String, to target: String) throws {
    try folder((relative as NSString).deletingLastPathComponent)
    unsafe unlink(absolute(relative))
    try FileManager.default.createSymbolicLink(atPath: absolute(relative), withDestinationPath: target)
  }

  /// The text of a file; nil where there is none.
  public func text(_ relative: String) -> String? {
    try? String(contentsOfFile: absolute(relative), encoding: .utf8)
  }

  /// The last component of a link's target; nil where there is no link.
  public func linkName(_ relative: String) -> String? {
    (try? FileManager.default.destinationOfSymbolicLink(atPath: absolute(relative))).map {
      ($0 as NSString).lastPathComponent
    }
  }

  /// The names in a folder, sorted.
  public func names(_ relative: String) -> [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: absolute(relative))) ?? []).sorted()
  }
}

extension FakeSysfs {
  /// Where the attributes of a function are.
  public static func device(_ address: String) -> String { "sys/bus/pci/devices/\(address)" }

  /// Adds a driver.
  public func addDriver(_ name: String) throws {
    try folder("sys/bus/pci/drivers/\(name)")
    try write("", to: "sys/bus/pci/drivers/\(name)/unbind")
  }

  /// Adds a function with the attributes that every function has; `attributes` adds others or replaces them.
  public func addFunction(
    _ address: String, classCode: String = "0x010802", driver: String? = nil, group: Int? = nil,
    headerType: UInt8 = 0, attributes: [String: String] = [:]
  ) throws {
    let home = "sys/devices/pci0000:00/\(address)"
    var all = [
      "vendor": "0x8086", "device": "0x10c9", "subsystem_vendor": "0x1af4", "subsystem_device": "0x1100",
      "revision": "0x01", "class": classCode, "driver_override": "(null)", "numa_node": "-1", "enable": "0",
      "resource": String(repeating: "0x0000000000000000 0x0000000000000000 0x0000000000000000\n", count: 13),
    ]
    all.merge(attributes) { $1 }
    for (name, text) in all { try write(text + "\n", to: "\(home)/\(name)") }
    var config = Data(count: 256)
    config.replaceSubrange(0..<4, with: [0x86, 0x80, 0xc9, 0x10])
    config[0x0e] = headerType
    try write(config, to: "\(home)/config")
    try link(Self.device(address), to: "../../../devices/pci0000:00/\(address)")
    if let driver {
      try addDriver(driver)
      try link("\(home)/driver", to: "../../../bus/pci/drivers/\(driver)")
    }
    if let group {
      try link("\(home)/iommu_group", to: "../../../kernel/iommu_groups/\(group)")
      try link(
        "sys/kernel/iommu_groups/\(group)/devices/\(address)", to: "../../../../devices/pci0000:00/\(address)"
      )
      try write("DMA-FQ\n", to: "sys/kernel/iommu_groups/\(group)/type")
    }
  }

  /// Adds a block device at a place below `/sys/devices`, and its link in `/sys/class/block`.
  public func addBlockDevice(_ name: String, at place: String, number: String) throws {
    try write("\(number)\n", to: "sys/devices/\(place)/\(name)/dev")
    try folder("sys/devices/\(place)/\(name)/holders")
    try link("sys/class/block/\(name)", to: "../../devices/\(place)/\(name)")
  }

  /// Adds a network interface of a function, or a virtual one.
  public func addInterface(_ name: String, at place: String) throws {
    try folder("sys/devices/\(place)/net/\(name)")
    try link("sys/class/net/\(name)", to: "../../devices/\(place)/net/\(name)")
  }

  /// Adds a line to the table of mounts.
  public func mount(_ number: String, source: String, on point: String, type: String = "ext4") throws {
    let line = "99 1 \(number) / \(point) rw,relatime shared:1 - \(type) \(source) rw\n"
    try write((text("proc/self/mountinfo") ?? "") + line, to: "proc/self/mountinfo")
  }
}
