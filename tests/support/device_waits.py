"""What makes the host wait for a device, counted."""

from collections import Counter

from torch.utils._python_dispatch import TorchDispatchMode


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a device: numbers read out of tensors, and copies from one device to another.

    What depends on values in another way (`nonzero`) is done on the CPU, before; that none of it is done on a device is
    shown by the meta device, in `test_jacobian`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        found = function(*arguments, **(keywords or {}))
        name = function.overloadpacket.__name__
        self.count[name] += name == "_local_scalar_dense"
        if name in ("_to_copy", "copy_"):
            source = arguments[1] if name == "copy_" else arguments[0]
            self.count["copy"] += source.device != found.device
        return found
