// SPDX-License-Identifier: Apache-2.0
import Testing

extension Trait where Self == ConditionTrait {
  fileprivate static var kernelHeaders: Self {
    .enabled(
      if: HeaderComparison.kernelFolder != nil,
      "needs the kernel's headers: SWIFT_VFIO_KERNEL_HEADERS=\"$(Tests/Lab/lab headers)\"")
  }
}

@Suite struct ABITests {
  /// A header that nobody compares would be a way around all of the below.
  @Test func everyHeaderIsKnown() throws {
    for (name, text) in try HeaderComparison.ourTexts()
    where KernelNames.headers[name] == nil && !KernelNames.unreleasedHeaders.contains(name) {
      #expect(KernelNames.ownHeaders.contains(name), "\(name) mirrors which header of the kernel?")
      let header = try MirrorHeader(name: name, text: text)
      #expect(header.structures.isEmpty && header.numbers.allSatisfy { $0 == "ABI_INLINE" })
    }
  }

  @Test(.kernelHeaders) func equalsTheKernel() throws {
    let comparison = try HeaderComparison(texts: HeaderComparison.ourTexts())
    #expect(comparison.mirrors.count == KernelNames.headers.count)
    for mirror in comparison.mirrors {
      #expect(
        mirror.structures.isEmpty == KernelNames.numbersAlone.contains(mirror.name)
          && !mirror.numbers.isEmpty, "\(mirror.name)")
    }
    let rows = try comparison.rows(kernelFolder: #require(HeaderComparison.kernelFolder))
    #expect(rows.map(\.subject) == comparison.subjects)
    for row in rows {
      #expect(row.ours == row.kernels, "\(row.subject)")
    }
    let structures = comparison.mirrors.flatMap(\.structures)
    print(
      "ABITests: \(structures.count) structures, \(structures.flatMap(\.fields).count) fields and",
      "\(comparison.mirrors.flatMap(\.numbers).count) numbers, \(rows.count) comparisons with the kernel's headers"
    )
  }

  /// The kernel's structures have no implicit padding, so a hole in ours is a field that we do not know.
  @Test(.kernelHeaders) func leavesNoHoles() throws {
    let comparison = try HeaderComparison(texts: HeaderComparison.ourTexts())
    let rows = try comparison.rows(kernelFolder: #require(HeaderComparison.kernelFolder))
    let values = Dictionary(uniqueKeysWithValues: rows.map { ($0.subject, $0.ours) })
    for structure in comparison.mirrors.flatMap(\.structures) {
      var end: UInt64 = 0
      for field in structure.fields {
        let path = "\(structure.name).\(field.name)"
        let place = values["offsetof \(path)"] ?? 0
        #expect((place == end) != KernelNames.holes.contains(path), "a hole before \(path)")
        end = place + (values["sizeof \(path)"] ?? 0)
      }
      let isClosed = values["sizeof \(structure.name)"] == end
      #expect(
        isClosed != KernelNames.openEnds.contains(structure.name), "a hole at the end of \(structure.name)")
    }
  }

  /// The instrument is checked as well: a comparison that finds nothing proves nothing.
  @Test(.kernelHeaders) func findsWhatIsWrong() throws {
    var texts = try HeaderComparison.ourTexts()
    let text = try #require(texts["abi_vfio.h"])
    let wrong =
      text.replacing(#/_Static_assert\(.*/#, with: "")
      .replacing("uint64_t size;\n  uint64_t offset;\n};", with: "uint64_t offset;\n  uint64_t size;\n};")
      .replacing("uint16_t version;", with: "uint8_t version;")
      .replacing("ABI_VFIO_BASE + 10)", with: "ABI_VFIO_BASE + 12)")
    texts["abi_vfio.h"] = wrong
    let rows = try HeaderComparison(texts: texts).rows(kernelFolder: #require(HeaderComparison.kernelFolder))
    #expect(
      Set(rows.filter { !$0.isEqual }.map(\.subject)) == [
        "offsetof abi_vfio_region_info.size", "offsetof abi_vfio_region_info.offset",
        "sizeof abi_vfio_info_cap_header.version", "ABI_VFIO_DEVICE_SET_IRQS",
      ])
  }

  /// A structure or a number that the kernel does not have is an error, not a gap in the comparison.
  @Test(
    .kernelHeaders, arguments: ["#define ABI_VFIO_NOVELTY 1", "struct abi_vfio_novelty {\n  uint32_t x;\n};"])
  func findsWhatTheKernelLacks(addition: String) throws {
    var texts = try HeaderComparison.ourTexts()
    texts["abi_vfio.h", default: ""] += addition + "\n"
    let comparison = try HeaderComparison(texts: texts)
    let failure = #expect(throws: HeaderComparison.Failure.self) {
      try comparison.rows(kernelFolder: #require(HeaderComparison.kernelFolder))
    }
    #expect(failure?.description.lowercased().contains("vfio_novelty") == true)
  }

  @Test(arguments: [
    "struct abi_x {\n  uint32_t a : 3;\n};", "struct abi_x {\n  union {\n", "enum abi_x { a };",
    "#define OTHER 1", "struct abi_x\n{\n};", "struct abi_x { uint32_t a; };", "struct abi_x {",
  ])
  func refusesWhatItCannotRead(text: String) {
    #expect(throws: MirrorHeader.Incomprehensible.self) { try MirrorHeader(name: "x.h", text: text) }
  }

  @Test func readsOneOfEach() throws {
    let header = try MirrorHeader(
      name: "x.h",
      text: """
        #pragma once
        #define ABI_ONE 1  // a number
        /// A comment; struct abi_no {
        struct abi_x {
          uint8_t first[3];  // bytes
          struct abi_y second;
          int32_t data[];
        };
        """)
    #expect(header.numbers == ["ABI_ONE"])
    #expect(header.structures.map(\.name) == ["abi_x"])
    #expect(
      header.structures.first?.fields == [
        .init(name: "first", isFlexible: false), .init(name: "second", isFlexible: false),
        .init(name: "data", isFlexible: true),
      ])
  }
}
