// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser

/// The command line of swift-vfio.
@main
struct VFIOCTL: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vfioctl",
    abstract: "Look at PCI functions, lend them to userspace, and smoke-test them.",
    discussion: """
      A function is named by its address, as lspci prints it: 0000:00:02.0, or 00:02.0.
      Looking needs no rights; binding and smoke-testing need root, or the right to the nodes.
      """,
    version: "0.1.0",
    subcommands: [
      ListCommand.self, ShowCommand.self, GroupsCommand.self, BindCommand.self, UnbindCommand.self,
      RestoreCommand.self, SmokeCommand.self,

    ])
}
