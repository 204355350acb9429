// SPDX-License-Identifier: Apache-2.0

/// A number of bytes for people: the largest binary unit that divides it.
struct ByteCount: CustomStringConvertible {
  let value: UInt64
  init(_ value: UInt64) { self.value = value }

  var description: String {
    for (unit, name) in [(UInt64(1) << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
    where value >= unit && value % unit == 0 {
      return "\(value / unit) \(name)"
    }
    return "\(value) bytes"
  }
}
