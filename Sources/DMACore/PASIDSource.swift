// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// A kernel object that hands out PASIDs: a VFIO container, where the kernel has that request.
public protocol PASIDSource: AnyObject, Sendable {
  /// For messages.
  var label: String { get }
  /// Takes a PASID of a range, both ends included.
  /// - Throws: `KernelError`: `ENOTTY` where the kernel has no such request; `ENOSPC`.
  func takePASID(in range: ClosedRange<PASID>) throws(KernelError) -> PASID
  /// Gives one back.
  func giveBackPASID(_ pasid: PASID) throws(KernelError)
}
