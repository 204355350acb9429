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

/// A library module of this package.
///
/// `needs` are the only modules that it may import.
func module(_ name: String, path: String? = nil, needs: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: needs, path: path ?? "Sources/\(name)", swiftSettings: strict)
}

func tests(_ name: String, needs: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: needs + ["TestSupport"], swiftSettings: strict)
}

func benchmark(_ name: String, path: String? = nil, needs: [Target.Dependency]) -> Target {
  .executableTarget(
    name: name, dependencies: needs, path: "Benchmarks/\(path ?? name)", swiftSettings: strict)
}

let package = Package(
  name: "swift-vfio",
  products: [
    .library(name: "SwiftVFIO", targets: ["SwiftVFIO"]),
    .library(name: "DriverCore", targets: ["DriverCore"]),
    .library(name: "DeviceSimulation", targets: ["DeviceSimulation"]),
    .executable(name: "vfioctl", targets: ["vfioctl"]),
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
    .target(name: "CPCINames", dependencies: ["CLibPCI"], path: "CShims/CPCINames"),
    // L1
    module("LinuxHandles", needs: ["CLinuxABI", system]),
    module("DeviceRegisters", needs: ["CMMIO", "CLinuxABI", "LinuxHandles", system]),
    // L2
    module("DMACore", needs: ["LinuxHandles", "DeviceRegisters", "CLinuxABI", "CMMIO", "CLibNUMA", system]),
    module("PCIBus", needs: ["LinuxHandles", "CLinuxABI", "CLibPCI", "CPCINames", system]),
    // L3
    module("IOMMUFD", needs: ["DMACore", "DeviceRegisters", "LinuxHandles", "CLinuxABI", system]),
    module("SoftwareIOTLB", needs: ["DMACore", "DeviceRegisters", "LinuxHandles", "CLinuxABI", system]),
    module("DriverCore", needs: ["PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles", system]),
    module("Virtqueues", needs: ["DMACore", "DeviceRegisters", "CMMIO"]),
    // L4
    module(
      "VFIO",
      needs: [
        "DriverCore", "IOMMUFD", "PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles", "CLinuxABI", system,
      ]),
    module(
      "DeviceSimulation",
      needs: ["DriverCore", "PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles", system]),
    module(
      "VDUSE",
      needs: ["Virtqueues", "DMACore", "DeviceRegisters", "LinuxHandles", "CLinuxABI", "CMMIO", system]),
    // L6
    module(
      "VDUSEBlock", path: "Examples/VDUSEBlock",
      needs: ["VDUSE", "Virtqueues", "DMACore", "LinuxHandles", "CLinuxABI", system]),
    module("VDUSENet", path: "Examples/VDUSENet", needs: ["VDUSE", "Virtqueues"]),
    module(
      "EduDriver", path: "Examples/EduDriver",
      needs: ["DriverCore", "PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles"]),
    module(
      "NVMeDriver", path: "Examples/NVMeDriver",
      needs: ["DriverCore", "PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles", "CMMIO"]),
    .executableTarget(
      name: "ReadBAR", dependencies: ["SwiftVFIO"], path: "Examples/ReadBAR", swiftSettings: strict),
    .executableTarget(
      name: "Delegation", dependencies: ["SwiftVFIO"], path: "Examples/Delegation", swiftSettings: strict),
    .executableTarget(
      name: "ObjectGraph", dependencies: ["SwiftVFIO"], path: "Examples/ObjectGraph", swiftSettings: strict),
    // L7: join a driver and a backend
    module(
      "SwiftVFIO",
      needs: [
        "VFIO", "IOMMUFD", "SoftwareIOTLB", "DriverCore", "PCIBus", "DMACore", "DeviceRegisters",
        "LinuxHandles",
        system,
      ]),
    module(
      "SmokeChecks",
      needs: [
        "EduDriver", "NVMeDriver", "DriverCore", "PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles",
        system,
      ]),
    .executableTarget(
      name: "vfioctl",
      dependencies: [
        "VFIO", "IOMMUFD", "DeviceSimulation", "SmokeChecks", "NVMeDriver", "VDUSEBlock", "VDUSENet",
        "VDUSE", "Virtqueues", "DriverCore", "PCIBus", "DMACore", "LinuxHandles", system,
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ], path: "Sources/vfioctl", swiftSettings: strict),
    // Tests. KernelTests and DeviceTests need a kernel with VFIO and iommufd: the lab.
    .target(name: "CTestSupport", dependencies: ["CLinuxABI"], path: "Tests/CTestSupport"),
    // The kernel's test interface of iommufd.
    .target(name: "CMockIOMMU", dependencies: ["CLinuxABI"], path: "Tests/CMockIOMMU"),
    // A driver of a device on the vdpa bus, in place of a virtual machine's.
    .target(name: "CVhostVDPA", path: "Tests/CVhostVDPA"),
    // Network namespaces, and the interfaces in them.
    .target(name: "CNetwork", path: "Tests/CNetwork"),
    .target(
      name: "TestSupport", dependencies: ["CTestSupport", "PCIBus", "LinuxHandles", system],
      path: "Tests/TestSupport",
      swiftSettings: strict),
    // What the NVMe driver does on every controller: DriverTests and DeviceTests run it.
    .target(
      name: "NVMeChecks",
      dependencies: ["NVMeDriver", "DriverCore", "PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles"],
      path: "Tests/NVMeChecks", swiftSettings: strict),
    tests("LinuxHandlesTests", needs: ["LinuxHandles", system]),
    tests("DeviceRegistersTests", needs: ["DeviceRegisters", "LinuxHandles", system]),
    tests("DMACoreTests", needs: ["DMACore", "DeviceRegisters", "LinuxHandles", system]),
    tests("PCIBusTests", needs: ["PCIBus", "LinuxHandles", "CLinuxABI", system]),
    tests(
      "DeviceSimulationTests",
      needs: [
        "DeviceSimulation", "DriverCore", "PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles", system,
      ]),
    tests(
      "DriverTests",
      needs: [
        "DeviceSimulation", "EduDriver", "NVMeDriver", "NVMeChecks", "SmokeChecks", "SoftwareIOTLB",
        "DriverCore", "PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles", system,
      ]),
    tests("ABITests", needs: []),
    tests(
      "SoftwareIOTLBTests",
      needs: ["SoftwareIOTLB", "DMACore", "DeviceRegisters", "LinuxHandles", "CLinuxABI", system]),
    tests("VirtqueuesTests", needs: ["Virtqueues", "DMACore", "LinuxHandles", system]),
    // What the fuzzer calls; Tests/Fuzz/run makes a program of it.
    .target(
      name: "RingFuzz", dependencies: ["Virtqueues", "DMACore", "LinuxHandles"], path: "Tests/Fuzz/RingFuzz",
      swiftSettings: strict),
    tests("IOMMUFDTests", needs: ["IOMMUFD", "DMACore", "LinuxHandles", system]),
    tests(
      "VDUSETests",
      needs: [
        "VDUSEBlock", "VDUSENet", "VDUSE", "Virtqueues", "DMACore", "LinuxHandles", "CLinuxABI", system,
      ]),
    tests("VFIOTests", needs: ["VFIO", "IOMMUFD", "PCIBus", "DMACore"]),
    tests("SwiftVFIOTests", needs: ["SwiftVFIO", "PCIBus", "DMACore", "LinuxHandles", system]),
    tests("VFIOCTLTests", needs: ["vfioctl"]),
    tests(
      "KernelTests",
      needs: [
        "CMockIOMMU", "CNetwork", "CVhostVDPA", "IOMMUFD", "VFIO", "VDUSEBlock", "VDUSENet", "VDUSE",
        "Virtqueues", "DMACore", "DeviceRegisters", "LinuxHandles", "CLinuxABI", system,
      ]),
    tests(
      "DeviceTests",
      needs: [
        "SwiftVFIO", "VFIO", "IOMMUFD", "EduDriver", "NVMeDriver", "NVMeChecks", "SmokeChecks", "DriverCore",
        "PCIBus", "DMACore", "DeviceRegisters", "LinuxHandles", "CLinuxABI", "CTestSupport", system,
      ]),
    // Benchmarks and their C twins; Benchmarks/run counts, Benchmarks/hotcheck looks into the binaries.
    .target(name: "CTwins", path: "Benchmarks/CTwins"),
    .target(name: "CTwinsIOVA", path: "Benchmarks/CTwins-IOVA"),
    .target(name: "CShares", path: "Benchmarks/CShares"),
    .target(name: "CTwinsMapping", dependencies: ["CLinuxABI"], path: "Benchmarks/CTwins-Mapping"),
    .target(
      name: "LoopMeasurement", dependencies: ["CTwins"], path: "Benchmarks/Measurement", swiftSettings: strict
    ),
    benchmark(
      "HotLoops", needs: ["LoopMeasurement", "CTwins", "DMACore", "DeviceRegisters", "LinuxHandles", system]),
    benchmark("IOVALoops", path: "IOVA", needs: ["LoopMeasurement", "CTwinsIOVA", "DMACore"]),
    benchmark("SharesBenchmark", path: "Shares", needs: ["LoopMeasurement", "CShares", "DMACore"]),
    // What a guard costs; Benchmarks/Guard/run counts.
    .executableTarget(
      name: "GuardLoops", dependencies: ["CTwins", "DeviceRegisters", "LinuxHandles"],
      path: "Benchmarks/Guard", exclude: ["README.md", "run"], swiftSettings: strict),
    // What a bounce buffer costs; Benchmarks/Bounce/run counts.
    .target(name: "CTwinsBounce", path: "Benchmarks/CTwins-Bounce"),
    .executableTarget(
      name: "BounceBenchmark", dependencies: ["CTwins", "CTwinsBounce", "SoftwareIOTLB", "LinuxHandles"],
      path: "Benchmarks/Bounce", exclude: ["README.md", "run"], swiftSettings: strict),
    benchmark(
      "MappingBenchmark", path: "Mapping",
      needs: ["CTwinsMapping", "VFIO", "IOMMUFD", "PCIBus", "DMACore", "LinuxHandles"]),
    .target(name: "COpening", dependencies: ["CLinuxABI"], path: "Benchmarks/COpening"),
    benchmark(
      "OpeningBenchmark", path: "Opening",
      needs: ["COpening", "VFIO", "DriverCore", "PCIBus", "DeviceRegisters", "LinuxHandles"]),
    .target(name: "CTwinsInterrupts", path: "Benchmarks/CTwins-Interrupts"),
    .executableTarget(
      name: "InterruptLoops", dependencies: ["CTwins", "CTwinsInterrupts", "DriverCore", "LinuxHandles"],
      path: "Benchmarks/Interrupts", exclude: ["run", "README.md"], swiftSettings: strict),
    .target(name: "CTwinsVirtqueues", path: "Benchmarks/CTwins-Virtqueues"),
    .executableTarget(
      name: "VirtqueueLoops",
      dependencies: ["LoopMeasurement", "CTwinsVirtqueues", "Virtqueues", "DMACore", "CMMIO"],
      path: "Benchmarks/Virtqueues", exclude: ["README.md"], swiftSettings: strict),
    // What finding a driver's address costs; Benchmarks/IOTLB/run counts.
    .target(name: "CTwinsIOTLB", path: "Benchmarks/CTwins-IOTLB"),
    .executableTarget(
      name: "IOTLBLoops",
      dependencies: ["LoopMeasurement", "CTwinsIOTLB", "VDUSE", "DMACore", "LinuxHandles", "CLinuxABI"],
      path: "Benchmarks/IOTLB", exclude: ["README.md", "run"], swiftSettings: strict),
    // What a command costs the NVMe driver; Benchmarks/NVMe/run counts.
    .target(
      name: "CTwinsNVMe", dependencies: ["COpening", "CLinuxABI"], path: "Benchmarks/CTwins-NVMe"),
    // The driver and C on a controller of the lab; Benchmarks/lab runs it there.
    .executableTarget(
      name: "NVMeComparison",
      dependencies: ["CTwinsNVMe", "NVMeDriver", "VFIO", "PCIBus", "DMACore", "LinuxHandles"],
      path: "Benchmarks/NVMeDevice", exclude: ["in-guest"], swiftSettings: strict),
    .executableTarget(
      name: "NVMeLoops",
      dependencies: [
        "CTwins", "CTwinsNVMe", "NVMeDriver", "DriverCore", "PCIBus", "DMACore", "DeviceRegisters",
        "LinuxHandles", system,
      ], path: "Benchmarks/NVMe", exclude: ["run", "README.md"], swiftSettings: strict),
    // Reads a second on the simulated controller; Benchmarks/NVMeModel/run measures.
    .executableTarget(
      name: "NVMeModelReads",
      dependencies: ["NVMeDriver", "DeviceSimulation", "DriverCore", "DMACore", "LinuxHandles"],
      path: "Benchmarks/NVMeModel", exclude: ["run", "README.md"], swiftSettings: strict),
  ],
  cLanguageStandard: .gnu17
)

// libFuzzer brings the main function of its program; Tests/Fuzz/run asks for it.
if Context.environment["SWIFT_VFIO_FUZZ"] != nil {
  package.targets.append(
    .executableTarget(name: "ring-fuzz", dependencies: ["RingFuzz"], path: "Tests/Fuzz/program"))
}
