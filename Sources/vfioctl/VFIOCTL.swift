// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
#if DEBUG
  internal import Glibc
  internal import LinuxHandles
#endif

/// The program's beginning.
@main
enum Main {
  static func main() {
    #if DEBUG
      // For tests of what a kill -9 leaves behind: dies before the n-th kernel call.
      if let text = unsafe getenv("SWIFT_VFIO_KILL_AT"), let call = unsafe Int(String(cString: text)) {
        return FaultPlan.$current.withValue(FaultPlan(atCall: call, .kills)) { VFIOCTL.main() }
      }
    #endif
    VFIOCTL.main()
  }
}

/// The command line of swift-vfio.
struct VFIOCTL: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vfioctl",
    abstract: "Look at PCI functions, lend them to userspace, smoke-test them, and serve virtio devices.",
    discussion: """
      A function is named by its address, as lspci prints it: 0000:00:02.0, or 00:02.0.
      Looking needs no rights; binding and smoke-testing need root, or the right to the nodes.
      """,
    version: "0.1.0",
    subcommands: [
      ListCommand.self, ShowCommand.self, GroupsCommand.self, BindCommand.self, UnbindCommand.self,
      RestoreCommand.self, SmokeCommand.self, SharesCommand.self, ObjectsCommand.self, ServeCommand.self,
      NVMeTools.self,
    ])
}
