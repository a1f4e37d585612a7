"""Write the table of docs/deployment.md from the files that exports were verified with.

    python .dev_scripts/deployment_page.py

The table stands between <!-- exports: FOLDER --> and <!-- end -->, FOLDER relative to
the page: a row for every file and runtime.
"""

from pathlib import Path
from typing import Any

from mmdet_lite.benchmark.measurement import conditions_of, load_measurement
from mmdet_lite.markdown import fill_blocks, markdown_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "deployment.md"

_HEADER = (
    "model",
    "file",
    "MB",
    "run in",
    "sizes (height×width)",
    "batches",
    "images",
    "objects",
    "missed",
    "boxes, px",
    "scores",
)


def fill_page(page: Path) -> None:
    """Write the tables of the page anew.

    Raises:
        FileNotFoundError: a folder that the page names is missing.
    """

    def exports(folder: str) -> str:
        files = sorted((page.parent / folder).iterdir())
        return exports_table([load_measurement(file) for file in files])

    fill_blocks(page, {"exports": exports})


def exports_table(measurements: list[dict[str, Any]]) -> str:
    """A row for every file and runtime, over its sizes and batches.

    Args:
        measurements: what ``tools/deployment/export.py --json`` wrote.

    Returns:
        str: Markdown, with the conditions of the verifications under the table.
    """
    lines = []
    for measurement in measurements:
        fixed = None if measurement["shape"] else measurement.get("batch")
        for runtime in dict.fromkeys(row["runtime"] for row in measurement["rows"]):
            rows = [row for row in measurement["rows"] if row["runtime"] == runtime]
            sizes = dict.fromkeys(
                "×".join(map(str, row["image_shape"])) for row in rows
            )
            first = rows[0]["batch"]
            batches = dict.fromkeys(str(row["batch"]) for row in rows)
            lines.append(
                [
                    f"{measurement['model']}, {measurement['name']}",
                    f"{measurement['format']}, "
                    f"{'one size' if measurement['shape'] else 'any size'}"
                    f"{f', batch {fixed}' if fixed else ''}",
                    f"{measurement['bytes'] / 1e6:.1f}",
                    runtime,
                    ", ".join(sizes),
                    ", ".join(batches),
                    str(rows[0]["images"]),
                    # The same ones again in a batch.
                    str(sum(r["objects"] for r in rows if r["batch"] == first)),
                    str(sum(row["misses"] for row in rows)),
                    f"{max(row['box'] for row in rows):.0e}",
                    f"{max(row['score'] for row in rows):.0e}",
                ]
            )
    conditions = conditions_of(*(found["environment"] for found in measurements))
    return f"{markdown_table(_HEADER, lines)}\n\n*{conditions}.*\n"


def main() -> None:
    """Write the page."""
    fill_page(PAGE)


if __name__ == "__main__":
    main()
