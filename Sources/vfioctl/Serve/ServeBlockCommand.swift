// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc
internal import LinuxHandles
internal import VDUSE
internal import VDUSEBlock

/// The command `vfioctl serve block --file IMAGE`.
struct ServeBlockCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "block", abstract: "Serve a disk image as /dev/vda, or the next free letter.",
    discussion: """
      Runs until SIGINT or SIGTERM, then takes the disk away; what was written and not yet flushed by its file \
      system goes to the image first. A server that was killed, or cannot go on, leaves the disk in place, with its \
      requests waiting: the same command goes on where it ended.

      Needs the modules vduse and virtio_vdpa, and root.
      """)

  @Option(help: "The image: a file or a block device.")
  var file: String?
  @Option(
    help: ArgumentHelp(
      "In place of an image: a disk of so many bytes that forgets what is written, to measure with.",
      valueName: "bytes"))
  var null: UInt64?
  @Flag(help: "Read and write the image past the page cache (O_DIRECT).")
  var direct = false
  @Option(help: "The device's name on the vdpa bus.")
  var name = "disk0"
  @Flag(help: "Write nothing; the driver sees a disk that cannot be written.")
  var readOnly = false
  @Option(
    help: ArgumentHelp(
      "How many queues, each with a thread. (default: as many as before; of a new disk one for each processor, 16 at most)"
    ))
  var queues: Int?
  @OptionGroup var serving: ServeOptions
  @Flag(help: "Offer indirect descriptors: more large requests fit a queue, and each costs the driver more.")
  var indirect = false
  @Option(help: "Where the requests in flight are noted, for a server after this one.")
  var log: String?

  func validate() throws {
    guard (file == nil) != (null == nil) else { throw ValidationError("either --file or --null is needed") }
    guard null.map({ $0 >= 512 }) ?? true else { throw ValidationError("--null is 512 at least") }
    guard null == nil || !(direct || readOnly) else {
      throw ValidationError("--direct and --read-only are of an image")
    }
    guard queues.map({ (1...64).contains($0) }) ?? true else {
      throw ValidationError("--queues is 1 to 64")
    }
  }

  /// With a queue for each processor the driver's kernel has requests go straight to the queue, without an I/O scheduler and its
  /// threads on the way, and back to the processor that they came from.
  private static var usualQueueCount: Int { min(max(Int(sysconf(CInt(_SC_NPROCESSORS_ONLN))), 1), 16) }

  func run() throws {
    try reportingFailures {
      let end = ServingEnd()
      let image =
        if let file {
          try DiskImage(path: file, isReadOnly: readOnly, isDirect: direct)
        } else {
          DiskImage(nullByteCount: null ?? 0)
        }
      let queueCount = queues ?? (try? PresentedDevice.queueCount(of: name)) ?? Self.usualQueueCount
      let service = BlockService(
        image, identity: name, queueCount: queueCount, queueSize: serving.queueSize ?? 1024,
        offersPackedRings: serving.packed, offersIndirectTables: indirect)
      let disk = try serving.present(
        service.description(name: name), service, queueSize: service.maximumQueueSize,
        logPath: log ?? "/run/vduse-\(name).log", end)
      print(
        "serving \(file ?? "nothing") as \(name): \(image.sectorCount) sectors, \(disk.isRecovered ? "resumed" : "new")"
      )
      StandardOutput.flush()
      try end.wait()
      try disk.remove()
    }
  }
}
