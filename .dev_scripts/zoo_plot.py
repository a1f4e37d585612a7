"""Draw the published figures of the model zoo."""

from typing import Any

from matplotlib.figure import Figure

# How the plot tells the variants apart.
_MARKERS = {
    "baseline": "*",
    "H3L1-(2+1)x3": "o",
    "H3L1-(3+1)x2": "D",
    "H3L1-(6+1)x1": "^",
    "H2L2-(2+1)x3": "s",
}


# Where the name of another detector stands: offset in points, and what of it is there.
_LABELS = {
    "right": {"xytext": (6, 0), "ha": "left", "va": "center"},
    "left": {"xytext": (-6, 0), "ha": "right", "va": "center"},
    "above": {"xytext": (0, 6), "ha": "center", "va": "bottom"},
    "below": {"xytext": (0, -6), "ha": "center", "va": "top"},
}


def draw_published(zoo: dict[str, Any]) -> Figure:
    """Draw the published AP of ResNet-50 models against their GFLOPs.

    Args:
        zoo: see :func:`zoo.read_zoo`.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
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
            textcoords="offset points",
            color="0.4",
            fontsize=7,
            **_LABELS[other.get("label", "right")],
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
    axes.set_xlim(left=92)
    axes.grid(alpha=0.3)
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.66), fontsize=7, ncols=2)
    return figure
