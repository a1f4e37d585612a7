"""Compute what the Triton kernels should do on a GPU, and write it into a page.

    python .dev_scripts/gpu_expectations.py compile docs/measurements/gpu-expected.json
    python .dev_scripts/gpu_expectations.py write

The first needs Triton and no GPU. The table of docs/operators.md stands between
<!-- expected: FILE MEASURED --> and <!-- end -->, both relative to the page; MEASURED
is what ``tools/benchmark.py operator`` wrote on a GPU.
"""

import argparse
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import torch
from gpu_limits import CARDS, MULTIPROCESSORS, occupancy, traffic_of

from mmdet_lite.benchmark.environment import require_commit, versions_of
from mmdet_lite.benchmark.measurement import (
    conditions_of,
    describe_run,
    load_measurement,
    save_measurement,
)
from mmdet_lite.cli import exit_on_config_error
from mmdet_lite.markdown import fill_blocks, markdown_table
from mmdet_lite.ops import (
    key_aware_deformable_attention,
    multi_scale_deformable_attention,
)
from mmdet_lite.ops.example import (
    arguments_of,
    cast_arguments,
    example_arguments,
    operator_of,
    run_with_gradients,
)

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "operators.md"
IMAGE_SHAPE = (800, 1066)
# So many that a call takes a GPU far longer than the processor that starts it.
BATCH = 4
# As tools/benchmark.py names them.
OPERATORS = ("plain", "key-aware")
DIRECTIONS = ("forward", "forward + backward")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def compile_call(
    kind: str, direction: str, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Compile what a call would launch, for every architecture.

    Args:
        kind: of :data:`OPERATORS`.
        direction: of :data:`DIRECTIONS`.
        arguments: of the operator.

    Returns:
        dict: what its kernels take, the bytes that it moves, and its seconds at best
        and with all from the L2 cache, by card.
    """
    # Here alone, so that the page can be written without Triton.
    from compiled_kernels import compile_only, resources_of

    operator = operator_of(
        kind, key_aware_deformable_attention, multi_scale_deformable_attention
    )
    compiled = {}
    for capability, multiprocessor in MULTIPROCESSORS.items():
        with compile_only(capability) as launches:
            if direction == "forward":
                operator(**arguments)
            else:
                run_with_gradients(operator, arguments)
        compiled[f"sm_{capability}"] = [
            {
                "kernel": launch.kernel.name,
                **(used := resources_of(launch.kernel)),
                "occupancy": occupancy(
                    multiprocessor, used["registers"], used["threads"], used["shared"]
                ),
            }
            for launch in launches
        ]
    traffic = traffic_of([launch.tensors for launch in launches])
    return {
        "operator": kind,
        "direction": direction,
        "dtype": str(arguments["value"].dtype).removeprefix("torch."),
        "compiled": compiled,
        "bytes": dataclasses.asdict(traffic),
        "seconds": {name: traffic.seconds_on(card) for name, card in CARDS.items()},
    }


def expected_table(expected: dict[str, Any], measured: dict[str, Any]) -> str:
    """What was computed of each call, and what it took.

    Args:
        expected: content of the file that ``compile`` writes.
        measured: of calls of the same size, by ``tools/benchmark.py operator``.

    Returns:
        str: a table in Markdown, with what all rows share under it.
    """
    rows = expected["rows"]
    architectures, cards = list(rows[0]["compiled"]), list(rows[0]["seconds"])
    header = ["operator", "direction", "dtype"]
    header += [f"registers, {name} (occupancy)" for name in architectures]
    header += ["moves at least, MB", "asks for, MB", "allocates, MB"]
    header += [f"{name}, ms" for name in cards]
    header.append(f"{measured['environment']['device']}, measured, ms")
    lines = [
        [
            *(row["operator"], row["direction"], row["dtype"]),
            *(_registers(row["compiled"][name]) for name in architectures),
            *(
                f"{row['bytes'][name] / 1e6:,.0f}"
                for name in ("least", "requested", "allocated")
            ),
            *("{:.2f}–{:.2f}".format(*_milliseconds(row, name)) for name in cards),
            f"{_measured_milliseconds(row, expected['batch'], measured):.2f}",
        ]
        for row in rows
    ]
    kernels = [
        kernel
        for row in rows
        for of_architecture in row["compiled"].values()
        for kernel in of_architecture
    ]
    spilled, shared = (
        max(kernel[name] for kernel in kernels) for name in ("spilled", "shared")
    )
    threads = sorted({kernel["threads"] for kernel in kernels})
    shape = "×".join(map(str, expected["image_shape"]))
    environment = expected["environment"]
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
    return (
        f"{markdown_table(header, lines)}\n\n"
        f"*Computed, but for the last column: image {shape}, batch "
        f"{expected['batch']}, a query a token. All kernels: {spilled} "
        f"bytes spilled, {shared} of shared memory, "
        f"{', '.join(map(str, threads))} threads a block. {versions}; commit "
        f"{environment['commit'] or 'unknown'}; `{expected['command']}`. Measured: "
        f"{conditions_of(measured['environment'])}; `{measured['command']}`.*\n"
    )


def _registers(kernels: list[dict[str, Any]]) -> str:
    return ", ".join(
        f"{kernel['registers']} ({100 * kernel['occupancy']:.0f} %)"
        for kernel in kernels
    )


def _milliseconds(row: dict[str, Any], card: str) -> list[float]:
    return [1e3 * seconds for seconds in row["seconds"][card]]


def _measured_milliseconds(
    row: dict[str, Any], batch: int, measured: dict[str, Any]
) -> float:
    wanted = {name: row[name] for name in ("operator", "direction", "dtype")}
    wanted |= {"backend": "triton", "batch": batch}
    (found,) = (
        each
        for each in measured["rows"]
        if each["num_queries"] == each["num_tokens"] and wanted.items() <= each.items()
    )
    return 1e3 * found["time"]["median"]


def fill_page(page: Path) -> None:
    """Write the table of the page anew.

    Raises:
        ConfigError: the file that the page names is missing.
    """
    fill_blocks(
        page,
        {
            "expected": lambda *files: expected_table(
                *(load_measurement(page.parent / file) for file in files)
            )
        },
    )


def main() -> None:
    """Compile and save, or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    compile_ = commands.add_parser("compile", help="takes a few minutes")
    compile_.add_argument("file", help="JSON to write")
    commands.add_parser("write", help="the table of docs/operators.md")
    args = parser.parse_args()
    if args.command == "write":
        with exit_on_config_error():
            fill_page(PAGE)
        return
    with exit_on_config_error():
        require_commit(args.file, ROOT)
    run = describe_run(torch.device("cpu"))
    run["environment"]["versions"].update(versions_of(["triton"]))
    example = example_arguments(IMAGE_SHAPE, batch=BATCH)
    rows = [
        compile_call(
            kind, direction, arguments_of(kind, cast_arguments(example, dtype))
        )
        for kind, direction, dtype in itertools.product(OPERATORS, DIRECTIONS, DTYPES)
    ]
    save_measurement(
        args.file,
        {
            "kind": "gpu expectations",
            **run,
            "image_shape": IMAGE_SHAPE,
            "batch": BATCH,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
