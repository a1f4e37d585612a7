"""Print which backends of the operators can run here, and why the others cannot.

python -m mmdet_lite.ops
"""

import torch

from .backends import ENVIRONMENT_VARIABLE, Backend, all_backends
from .contract import FLOATING_DTYPES


def describe(backend: Backend, device: torch.device) -> str:
    """The dtypes that a backend serves on a device, or why it serves none."""
    if device.type == "cuda" and not torch.cuda.is_available():
        return "no: PyTorch sees no CUDA device"
    reasons = {dtype: backend.why_not(device, dtype) for dtype in FLOATING_DTYPES}
    served = [
        str(dtype).removeprefix("torch.")
        for dtype, reason in reasons.items()
        if reason is None
    ]
    return ", ".join(served) or f"no: {reasons[torch.float32]}"


def main() -> None:
    """A line for each backend and kind of device, in the order 'auto' prefers."""
    print(f"torch {torch.__version__}; 'auto' is the first that serves a dtype")
    for device in ("cpu", "cuda"):
        print(f"\n{device}")
        for backend in all_backends():
            print(f"  {backend.name:<10} {describe(backend, torch.device(device))}")
    print(f"\n{ENVIRONMENT_VARIABLE} takes the place of 'auto'")


if __name__ == "__main__":
    main()
