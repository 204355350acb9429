// SPDX-License-Identifier: Apache-2.0
internal import CPCINames
internal import Synchronization

/// The names that `pci.ids` has for numbers, through libpci.
///
/// The list is read once, at the first question (about 12 ms for 1.3 MB); an answer then takes under a
/// microsecond. Where the list is missing or broken every name is nil. Neither DNS nor udev is asked.
/// Safe to use from several threads.
///
/// Source: libpci, pci.h, "Conversion of PCI ID's to names".
public final class PCINameDatabase: Sendable {
  /// The names of one function.
  public struct Names: Hashable, Sendable {
    /// The vendor's name.
    public let vendor: String?
    /// The device's name.
    public let device: String?
    /// The name of the class, as "Ethernet controller".
    public let classCode: String?
  }

  /// libpci's state; it is not safe for two threads at once, hence the lock around it.
  @safe
  private struct Access: ~Copyable, @unchecked Sendable {
    private let names: OpaquePointer
    private var isLoaded: Bool?

    init(listPath: String?) { unsafe names = cpcinames_open(listPath) }

    mutating func name(
      _ lookup: (OpaquePointer, UnsafeMutablePointer<CChar>, CInt) -> UnsafePointer<CChar>?
    ) -> String? {
      if isLoaded == nil { isLoaded = unsafe cpcinames_load(names) != 0 }
      guard isLoaded == true else { return nil }
      return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 512) { buffer in
        guard let base = buffer.baseAddress else { return nil }
        // SAFETY: the answer points into `buffer` or into the list, both of which live until it is copied here.
        return unsafe lookup(names, base, CInt(buffer.count)).map { unsafe String(cString: $0) }
      }
    }

    deinit { unsafe cpcinames_close(names) }
  }

  private let access: Mutex<Access>

  /// Prepares the database; nothing is read yet.
  /// - Parameter listPath: A file in the format of `pci.ids`, or nil for the one that libpci was built for.
  public init(listPath: String? = nil) { access = Mutex(Access(listPath: listPath)) }

  /// The name of a vendor.
  public func vendorName(_ vendorID: UInt16) -> String? {
    access.withLock { unsafe $0.name { unsafe cpcinames_vendor($0, $1, $2, CInt(vendorID)) } }
  }

  /// The name that a vendor's device has.
  public func deviceName(vendorID: UInt16, deviceID: UInt16) -> String? {
    access.withLock { unsafe $0.name { unsafe cpcinames_device($0, $1, $2, CInt(vendorID), CInt(deviceID)) } }
  }

  /// The name of a class and sub-class.
  public func className(_ code: PCIClassCode) -> String? {
    access.withLock { unsafe $0.name { unsafe cpcinames_class($0, $1, $2, CInt(code.rawValue >> 8)) } }
  }

  /// The names of a function.
  public func names(of function: PCIFunctionInfo) -> Names {
    Names(
      vendor: vendorName(function.vendorID),
      device: deviceName(vendorID: function.vendorID, deviceID: function.deviceID),
      classCode: className(function.classCode))
  }
}
