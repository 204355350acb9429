// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableExperimentalFeature("Lifetimes"),
]

let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")

/// A library module of this package. `needs` are the only modules that it may import.
func module(_ name: String, path: String? = nil, needs: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: needs, path: path ?? "Sources/\(name)", swiftSettings: strict)
}

func tests(_ name: String, needs: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: needs + ["TestSupport"], swiftSettings: strict)
}

let package = Package(
  name: "swift-vfio",
  products: [
    .library(name: "LinuxHandles", targets: ["LinuxHandles"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-system", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.6.0"),
  ],
  targets: [
    // L0: C. Nothing above knows an ioctl number or a kernel header.
    .target(name: "CLinuxABI", path: "CShims/CLinuxABI"),
    .target(name: "CMMIO", path: "CShims/CMMIO"),
    .systemLibrary(
      name: "CLibPCI", path: "CShims/CLibPCI", pkgConfig: "libpci", providers: [.apt(["libpci-dev"])]),
    .systemLibrary(
      name: "CLibNUMA", path: "CShims/CLibNUMA", pkgConfig: "numa", providers: [.apt(["libnuma-dev"])]),
    // L1
    module("LinuxHandles", needs: ["CLinuxABI", system]),
    module("DeviceRegisters", needs: ["CMMIO", "LinuxHandles", system]),
    // L2
    module("DMACore", needs: ["LinuxHandles", "DeviceRegisters", "CLinuxABI", "CMMIO", "CLibNUMA", system]),
    module("PCIBus", needs: ["LinuxHandles", "CLinuxABI", "CLibPCI", system]),
    // L3
    module("DriverCore", needs: ["PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles", system]),
    // L4
    module(
      "DeviceSimulation",
      needs: ["DriverCore", "PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles", system]),
    // L6
    module(
      "EduDriver", path: "Examples/EduDriver",
      needs: ["DriverCore", "PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles"]),
    // L7
    module(
      "SmokeChecks",
      needs: ["EduDriver", "DriverCore", "PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles", system]),
    // Tests of this package's lower modules and of drivers on the simulation.
    .testTarget(
      name: "DriverTests",
      dependencies: [
        "DeviceSimulation", "EduDriver", "SmokeChecks", "DriverCore", "PCIBus", "DMACore", "DeviceRegisters",
        "LinuxHandles", system,
      ], swiftSettings: strict),
    .testTarget(
      name: "DeviceSimulationTests",
      dependencies: [
        "DeviceSimulation", "DriverCore", "PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles", system,
      ], swiftSettings: strict),
    .testTarget(
      name: "DMACoreTests", dependencies: ["DMACore", "DeviceRegisters", "LinuxHandles", system],
      swiftSettings: strict),
    .testTarget(
      name: "DeviceRegistersTests", dependencies: ["DeviceRegisters", "LinuxHandles", system],
      swiftSettings: strict),
    .testTarget(
      name: "LinuxHandlesTests", dependencies: ["LinuxHandles", system], swiftSettings: strict),
  ],
  cLanguageStandard: .gnu17
)
