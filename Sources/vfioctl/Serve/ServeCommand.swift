// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser

/// The command `vfioctl serve …`.
struct ServeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "Serve a virtio device to this kernel, through VDUSE.",
    subcommands: [ServeBlockCommand.self, ServeNetCommand.self, ServeRemoveCommand.self])
}
