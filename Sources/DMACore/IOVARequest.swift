// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles
internal import SystemPackage

/// What is wanted of an address space's addresses for one mapping.
struct IOVARequest {
  /// Where it must begin, or nil for any place that fits.
  let address: IOVA?
  /// A multiple of the granule.
  let byteCount: Int
  /// Of a place that is chosen here, in bytes; a power of two.
  ///
  /// Where no such place is left, one with less is
  /// taken, down to the granule.
  let alignment: Int
  /// What a given place is a multiple of, in bytes.
  let granule: Int
  /// The highest address that the device reaches, inclusive.
  let limit: IOVA

  /// The refusal, as the kernel would say it.
  @inline(never)
  func refused(
    _ failure: IOVAAllocator.Failure, by space: String, allowing allowed: [IOVARange]
  ) -> KernelError {
    let place = address.map { "at \($0)" } ?? "up to \(limit)"
    let allowedText = allowed.map(\.description).joined(separator: ", ")
    let (errno, remedy): (Errno, String) =
      switch failure {
      case .exhausted: (.noSpace, "no free range below the device's limit; allowed are \(allowedText)")
      case .taken: (.fileExists, "the range is mapped already; choose another or let the library choose")
      case .notAllowed, .notAllocated:
        (
          .invalidArgument,
          "allowed are only multiples of \(granule), in length too, up to \(limit) in \(allowedText)"
        )
      }
    return KernelError(
      operation: "allocate IOVA", errno: errno, subject: "\(space), \(byteCount) bytes \(place)",
      remedy: remedy)
  }
}
