import Testing
import TestSupport
@Suite(.serialized, .lab("intel-iommu")) struct KernelTests {}
