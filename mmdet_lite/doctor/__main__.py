"""What is installed, what is wrong with it, and what to run.

python -m mmdet_lite.doctor     status 1 where something is wrong
"""

import argparse
import importlib
import warnings

from .installed import describe, look_around
from .problems import find_problems


def main() -> None:
    """Print it; status 1 where something is wrong."""
    argparse.ArgumentParser(
        prog="python -m mmdet_lite.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    installation = look_around()
    print(describe(installation))
    problems = find_problems(installation)
    for problem in problems:
        print(f"\nwrong: {problem.what}\nrun:   {problem.command}")
    if problems:
        raise SystemExit(1)
    warnings.filterwarnings("ignore")
    print()
    # What it imports is known to be there only now.
    importlib.import_module("mmdet_lite.ops.__main__").list_backends()
    print("\nnothing is wrong")


if __name__ == "__main__":
    main()
