"""Draw the published figures of the model zoo."""

from pathlib import Path
from typing import Any

# How the plot tells the variants apart.
_MARKERS = {
    "baseline": "*",
    "H3L1-(2+1)x3": "o",
    "H3L1-(3+1)x2": "D",
    "H3L1-(6+1)x1": "^",
    "H2L2-(2+1)x3": "s",
}


def plot_published(zoo: dict[str, Any], path: str | Path) -> None:
    """Draw the published AP of ResNet-50 models against their GFLOPs.

    Args:
        zoo: see :func:`read_zoo`.
        path: image to write; the ending says which kind.
    """
    # Only this function draws, and the import takes a second.
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    others = zoo["others"]
    axes.scatter(
        [other["GFLOPs"] for other in others],
        [other["AP"] for other in others],
        color="0.7",
        marker="x",
    )
    for other in others:
        axes.annotate(
            other["model"],
            (other["GFLOPs"], other["AP"]),
            xytext=(4, 4 if other.get("label") == "above" else -8),
            textcoords="offset points",
            color="0.5",
            fontsize=6,
        )
    families: dict[str, dict[str, tuple[float, float]]] = {}
    for table in zoo["tables"]:
        for row in table["rows"]:
            if "paper" in row and "_swin-t_" not in row["config"]:
                family = families.setdefault(table["title"].split(",")[0], {})
                variant = row["model"].rpartition(" ")[2]
                variant = variant if variant in _MARKERS else "baseline"
                family[variant] = (row["paper"]["GFLOPs"], row["paper"]["AP"][0])
    for index, (family, points) in enumerate(families.items()):
        color = f"C{index}"
        axes.plot(*zip(*sorted(points.values()), strict=True), color=color)
        for variant, point in points.items():
            axes.plot(*point, color=color, marker=_MARKERS[variant], markersize=8)
        # For the legend only.
        axes.plot([], [], color=color, label=f"{family} and its Lite variants")
    for variant, marker in _MARKERS.items():
        axes.plot([], [], color="0.3", marker=marker, linestyle="", label=variant)
    axes.set_xlabel("GFLOPs as published")
    axes.set_ylabel("AP on COCO val2017 as published")
    axes.grid(alpha=0.3)
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.66), fontsize=7, ncols=2)
    figure.savefig(path, dpi=150)
    plt.close(figure)
