// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// Pages could not be shared, taken back or given away; nothing has changed.
public struct PageShareError: Error, Hashable, Sendable {
  /// Why.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    /// The reason, as the start of a sentence.
    public let description: String

    /// Devices still reach the page: it cannot be freed, unmapped, truncated or handed to another owner.
    public static let shared = Code(description: "a shared page cannot be given away")
    /// No device reaches the page by this share, or no more.
    public static let notShared = Code(description: "the page is not shared")
    /// The page has as many shares as its count can hold.
    public static let saturated = Code(description: "the page's count of shares is at its maximum")
    /// The page was given away and is no longer this owner's to share.
    public static let donated = Code(description: "the page was given away")
    /// The pages are a device's (a BAR, a dma-buf), not memory of the host.
    public static let deviceMemory = Code(description: "device memory is not host memory")
    /// The range is empty or passes the end of the memory.
    public static let badRange = Code(description: "the range is empty or not inside the memory")
    /// There is no memory for the counts.
    public static let outOfMemory = Code(description: "no memory for the counts of shares")
  }

  /// Why.
  public let code: Code
  /// The pages that the call was about, counted from the memory's first.
  public let pages: Range<Int>
  /// The first page that stood in the way.
  public let page: Int
  /// The address spaces that hold that page, by their labels.
  public let holders: [String]

  init(_ code: Code, pages: Range<Int>, page: Int, holders: [String] = []) {
    self.code = code
    self.pages = pages
    self.page = page
    self.holders = holders
  }
}

extension PageShareError {
  /// The kernel's number for the same refusal.
  public var errno: Errno {
    switch code {
    case .shared: .resourceBusy
    case .saturated: .overflow
    case .deviceMemory: .badAddress
    case .outOfMemory: .noMemory
    default: .invalidArgument
    }
  }
}

extension PageShareError: CustomStringConvertible {
  /// One line, with the holders' names.
  public var description: String {
    let held = holders.isEmpty ? "" : "; held by " + holders.joined(separator: ", ")
    return "\(code): page \(page) of pages \(pages)\(held)"
  }
}
