// SPDX-License-Identifier: Apache-2.0
internal import DMACore

/// The fact that a part of a domain's streaming window is lent: given back with all that is still mapped there.
final class WindowLease: Sendable {
  let range: IOVARange
  private let domain: IOTLBDomain

  init(_ range: IOVARange, of domain: IOTLBDomain) {
    self.range = range
    self.domain = domain
  }

  deinit { domain.takeBack(range) }
}
