"""Write the figures of docs/reliability.md from what was measured.

    python .dev_scripts/reliability_page.py

They stand between <!-- soak: FILE -->, <!-- need: FILE -->, <!-- annotations: FILE -->
or <!-- memory: FILE --> and <!-- end -->, FILE relative to the page.
"""

from pathlib import Path
from typing import Any

from mmdet_lite.benchmark.measurement import conditions_of, load_measurement
from mmdet_lite.markdown import fill_blocks, markdown_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
# The last is what stays when the C library is asked to give back what is free.
_COUNTS = (1, 50, 100, 200, 300, 500, 700, 1000, "trimmed")


def soak_table(soak: dict[str, Any]) -> str:
    """What a soak run did, and how often each fault was survived.

    Args:
        soak: content of the file that ``.dev_scripts/soak.py`` writes.

    Returns:
        str: a sentence and a table, in Markdown.
    """
    injected, survived = soak["injected"], soak["survived"]
    rows = [
        [fault, str(count), str(survived.get(fault, 0))]
        for fault, count in sorted(injected.items())
    ]
    total = sum(injected.values())
    rows.append(["all", str(total), str(sum(survived.values()))])
    halves = soak["half_written"]
    signals = soak["saved_on_signal"]
    found = (
        f"{halves.get('checkpoint', 0)} kills left a half-written checkpoint behind, "
        f"{halves.get('last_checkpoint', 0)} a half-written `last_checkpoint`. "
        f"{signals} signal{'s' * (signals != 1)} came amid an epoch and saved all of "
        "it."
    )
    if soak["lost"]:
        text = (
            f"Of {total} faults in {soak['minutes']:g} minutes was lost: "
            f"{'; '.join(soak['lost'])}."
        )
    else:
        text = (
            f"In {soak['minutes']:g} minutes {soak['rounds']} trainings of "
            f"{soak['iterations']} iterations came to their end through {total} faults "
            f"and {soak['resumptions']} resumptions; {soak['iterations_repeated']} "
            "iterations were trained once more. Each ended with the "
            f"{soak['tensors']} tensors of the undisturbed training, bit for bit. "
            "Lost: nothing."
        )
    table = markdown_table(["fault", "injected", "survived"], rows)
    return f"{text} {found}\n\n{table}\n{_conditions(soak)}"


def memory_table(memory: dict[str, Any]) -> str:
    """What a process held after so many images, run by run.

    Args:
        memory: content of the file that ``.dev_scripts/steady_memory.py`` writes.

    Returns:
        str: a table, in Markdown.
    """
    rows = []
    for name, lines in memory["runs"].items():
        by_count = {line["images"]: line for line in lines}
        rows += [
            [f"{name}, {kind}", *(str(by_count[count][kind]) for count in _COUNTS)]
            for kind in ("allocated", "resident")
        ]
    table = markdown_table(["MiB after images", *map(str, _COUNTS)], rows)
    return f"{table}\n{_conditions(memory)}"


def need_table(measurement: dict[str, Any]) -> str:
    """What was said of an image's memory, and what a process took.

    Args:
        measurement: content of the file that ``.dev_scripts/large_images.py`` writes.

    Returns:
        str: a table, in Markdown.
    """
    rows = [
        [
            row["model"],
            "×".join(map(str, row["shape"])),
            f"{row['said'] / 2**20:,.0f}",
            f"{row['grown'] / 2**20:,.0f}",
            f"{row['grown'] / row['said']:.1f}",
        ]
        for row in measurement["rows"]
    ]
    header = ["model", "image", "tensors, said, MiB", "process grew by, MiB", "ratio"]
    return f"{markdown_table(header, rows)}\n{_conditions(measurement)}"


def annotations_table(measurement: dict[str, Any]) -> str:
    """What the processes of a run took to load a large annotation file.

    Args:
        measurement: content of the file that ``.dev_scripts/large_annotations.py``
            writes.

    Returns:
        str: a sentence and a table, in Markdown.
    """
    rows = [
        [
            kind,
            str(rank),
            f"{process['check_seconds']:.0f}",
            f"{process['load_seconds']:.0f}",
            f"{process['peak_bytes'] / 2**20:,.0f}",
        ]
        for kind, processes in measurement["runs"].items()
        for rank, process in enumerate(processes)
    ]
    header = ["data set", "process", "check, s", "load, s", "grew by, MiB"]
    return (
        f"{measurement['annotations']:,} annotations of {measurement['images']:,} "
        f"images, {measurement['bytes'] / 1e6:.0f} MB, on "
        f"{measurement['environment']['cores']} cores:\n\n"
        f"{markdown_table(header, rows)}\n{_conditions(measurement)}"
    )


def _conditions(measurement: dict[str, Any]) -> str:
    """Where it was measured and by what; older files do not say it all."""
    known = []
    if "environment" in measurement:
        known.append(conditions_of(measurement["environment"]))
    if "command" in measurement:
        known.append(f"`{measurement['command']}`")
    return f"\n*{'; '.join(known)}.*\n" if known else ""


def fill_page(page: Path) -> None:
    """Write the tables of the page anew.

    Args:
        page: the Markdown file; it is changed.

    Raises:
        ConfigError: a file that the page names is missing.
    """

    fill_blocks(
        page,
        {
            "soak": lambda file: soak_table(load_measurement(page.parent / file)),
            "need": lambda file: need_table(load_measurement(page.parent / file)),
            "annotations": lambda file: annotations_table(
                load_measurement(page.parent / file)
            ),
            "memory": lambda file: memory_table(load_measurement(page.parent / file)),
        },
    )


if __name__ == "__main__":
    fill_page(PAGE)
