// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser

/// What every subcommand offers for its output.
struct OutputOptions: ParsableArguments {
  @Flag(help: "Print JSON for programs instead of text for people.")
  var json = false
}
