"""Which backends of the attention operators run here, and whether they are right.

python -m mmdet_lite.ops            what can run, and why the others cannot
python -m mmdet_lite.ops check      hold each against the definition; status 1 if
                                    one is off, or if nothing ran
python -m mmdet_lite.ops build      compile the C++ kernels for this PyTorch
"""

import argparse
import warnings

import torch

from ..cli import exit_on_config_error, positive_int
from ..runtime.device import existing_device
from .build import build_extension
from .check import check_backends
from .contract import FLOATING_DTYPES
from .dispatch import ENVIRONMENT_VARIABLE, Backend, all_backends


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m mmdet_lite.ops",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command")
    check = commands.add_parser("check", help="hold backends against the definition")
    check.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where to run; default: the GPU if there is one",
    )
    check.add_argument(
        "--backend",
        nargs="+",
        choices=[backend.name for backend in all_backends()],
        help="backends that must run; default: all that can",
    )
    check.add_argument(
        "--shape",
        type=positive_int,
        nargs=2,
        default=(800, 1066),
        metavar=("H", "W"),
        help="height and width of the image; default 800 1066",
    )
    check.add_argument(
        "--queries", type=positive_int, help="of a call; default: as many as tokens"
    )
    commands.add_parser("build", help="compile the C++ kernels")
    return parser.parse_args()


def describe(backend: Backend, device: torch.device) -> str:
    """The dtypes that a backend serves on a device, or why it serves none."""
    if device.type == "cuda" and not torch.cuda.is_available():
        return "no: PyTorch sees no CUDA device"
    reasons = {dtype: backend.why_not(device, dtype, None) for dtype in FLOATING_DTYPES}
    served = [_name(dtype) for dtype, reason in reasons.items() if reason is None]
    return ", ".join(served) or f"no: {reasons[torch.float32]}"


def list_backends() -> None:
    """A line for each backend and kind of device, in the order 'auto' prefers."""
    print(f"torch {torch.__version__}; 'auto' is the first that serves a dtype")
    for device in ("cpu", "cuda"):
        print(f"\n{device}")
        for backend in all_backends():
            print(f"  {backend.name:<10} {describe(backend, torch.device(device))}")
    print(f"\n{ENVIRONMENT_VARIABLE} takes the place of 'auto'")


def check(args: argparse.Namespace) -> bool:
    """A line for each backend, dtype and operator.

    Returns:
        bool: whether something ran, all of it right, and all that was asked for.
    """
    chosen = [
        backend
        for backend in all_backends()
        if args.backend is None or backend.name in args.backend
    ]
    with exit_on_config_error():
        device = existing_device(args.device)
    ran: set[str] = set()
    right = True
    for result in check_backends(chosen, device, tuple(args.shape), args.queries):
        label = f"{result.backend:<10} {_name(result.dtype):<9} {result.kind:<28}"
        if result.why_not is not None:
            print(f"{label} not run: {result.why_not}", flush=True)
            continue
        ran.add(result.backend)
        right = right and result.passed
        errors = "  ".join(
            f"{name} {error:.0e}" for name, error in result.errors.items()
        )
        print(f"{label} {'ok' if result.passed else 'WRONG':<5}  {errors}", flush=True)
    missing = [name for name in args.backend or () if name not in ran]
    for name in missing:
        print(f"{name} did not run")
    if not ran:
        print(f"no backend ran on {args.device}")
    return bool(ran) and right and not missing


def main() -> None:
    """Run the command; status 1 where it fails."""
    args = parse_args()
    if args.command == "check":
        raise SystemExit(0 if check(args) else 1)
    if args.command == "build":
        try:
            print(f"built {build_extension()}")
        except (ImportError, RuntimeError) as error:
            raise SystemExit(f"error: {error}") from None
        return
    list_backends()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "backend .* cannot run here")
    main()
