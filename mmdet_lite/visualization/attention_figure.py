"""Draw where queries look."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .attention_panel import AttentionPanel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# One shape a level, the finest first.
_MARKERS = "osD^vP*X"
_COLOURS = "YlOrRd"
_QUERY = "#0a58ca"


def draw_attention(
    panels: Sequence[AttentionPanel],
    beside: int = 1,
    whole: bool = False,
) -> "Figure":
    """Draw the samples of queries over their faded images.

    A marker's shape tells the level, its colour and size the attention weight, on one
    scale for all panels. Samples beyond the image are counted below it, and weighed.

    Args:
        panels: one for each query and model.
        beside: so many panels in turn are of one query, in several models; they show
            the same part of the image.
        whole: the whole image instead of the part where samples are.

    Returns:
        Figure: to be saved, ``figure.savefig('attention.png')``.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    columns = min(len(panels), 3 if beside == 1 else beside)
    rows = -(-len(panels) // columns)
    height, width = np.max([panel.image.shape[:2] for panel in panels], axis=0)
    # Wide and tall images get the same area, but there must be room for the texts.
    panel_width = max(3.7, 4.6 * np.sqrt(0.75 * width / height))
    panel_height = panel_width * height / width
    figure = Figure(
        figsize=(panel_width * columns + 0.9, (panel_height + 0.7) * rows + 0.4),
        layout="constrained",
    )
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    norm = Normalize(0, max(float(panel.weights.max()) for panel in panels))
    for index, (axes, panel) in enumerate(zip(grid, panels, strict=False)):
        group = panels[index - index % beside :][:beside]
        _draw(axes, panel, _whole(panel) if whole else _view(group), norm)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.colorbar(
        ScalarMappable(norm, _COLOURS),
        ax=grid.tolist(),
        label="attention weight (those of a head sum to 1)",
        fraction=0.05,
        aspect=20 * rows,
        pad=0.015,
    )
    handles = _legend(panels)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles) if columns > 1 else -(-len(handles) // 2),
        frameon=False,
        handletextpad=0.2,
    )
    return figure


def _draw(
    axes: "Axes", panel: AttentionPanel, view: np.ndarray, norm: "Normalize"
) -> None:
    height, width = panel.image.shape[:2]
    # Grey, so that all colour is attention.
    faded = 255 - (255 - panel.image.mean(-1)) * 0.55
    axes.imshow(faded, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    samples = _samples(panel, norm)
    samples.set_offset_transform(axes.transData)
    axes.add_collection(samples)
    left, top, right, bottom = panel.box
    axes.plot(
        [left, right, right, left, left],
        [top, top, bottom, bottom, top],
        color=_QUERY,
        linewidth=1.6,
        zorder=2,
    )
    for colour, thickness in (("white", 4), (_QUERY, 2)):
        axes.plot(*panel.reference, "+", color=colour, ms=12, mew=thickness, zorder=4)
    axes.set(xlim=view[[0, 2]], ylim=view[[3, 1]])
    axes.tick_params(labelsize=7, colors="0.45", length=2)
    axes.locator_params(nbins=5)
    axes.set_title(f"{panel.title}\n{panel.subtitle}", fontsize=9.5)
    axes.set_xlabel(
        f"beyond the image: {panel.outside.sum()} of {panel.outside.size} samples, "
        f"{panel.outside_weight:.0%} of the weight",
        fontsize=8,
        color="0.35",
    )


def _whole(panel: AttentionPanel) -> np.ndarray:
    height, width = panel.image.shape[:2]
    return np.array([0, 0, width, height], dtype=float)


def _view(panels: Sequence[AttentionPanel]) -> np.ndarray:
    """(x1, y1, x2, y2) around everything in the image, in the image's proportions."""
    image = _whole(panels[0])
    size = image[2:]
    points = np.concatenate(
        [
            part
            for panel in panels
            for part in (panel.samples[~panel.outside], panel.box.reshape(2, 2))
        ]
    ).clip(0, size)
    low, high = points.min(0), points.max(0)
    part = 1.15 * ((high - low) / size).max()
    # A little less than the whole image would only puzzle.
    part = part if part < 0.8 else 1.0
    corner = ((low + high - part * size) / 2).clip(0, size - part * size)
    return np.concatenate([corner, corner + part * size])


def _samples(panel: AttentionPanel, norm: "Normalize") -> "PathCollection":
    from matplotlib.collections import PathCollection
    from matplotlib.markers import MarkerStyle
    from matplotlib.transforms import IdentityTransform

    shapes = [MarkerStyle(_marker(stride)) for stride in panel.strides]
    paths = [shape.get_path().transformed(shape.get_transform()) for shape in shapes]
    weights = panel.weights.ravel()
    level = np.broadcast_to(np.arange(len(paths))[:, None], panel.weights.shape).ravel()
    # Heavy samples on top of light ones, whatever their level.
    order = np.argsort(weights)
    collection = PathCollection(
        [paths[index] for index in level[order]],
        sizes=10 + 110 * norm(weights[order]),
        offsets=panel.samples.reshape(-1, 2)[order],
        array=weights[order],
        norm=norm,
        cmap=_COLOURS,
        edgecolors="0.2",
        linewidths=0.45,
        zorder=3,
    )
    # A marker has its size in points; only where it stands is in pixels of the image.
    collection.set_transform(IdentityTransform())
    return collection


def _marker(stride: int) -> str:
    return _MARKERS[max(0, round(np.log2(stride)) - 3) % len(_MARKERS)]


def _legend(panels: Sequence[AttentionPanel]) -> list["Line2D"]:
    from matplotlib.lines import Line2D

    strides = sorted({stride for panel in panels for stride in panel.strides})
    box = " or ".join(sorted({panel.box_name for panel in panels}))
    return [
        Line2D([], [], ls="", marker="+", color=_QUERY, ms=11, mew=2, label="query"),
        Line2D([], [], ls="", marker="s", mfc="none", mec=_QUERY, ms=11, label=box),
        *(
            Line2D(
                [],
                [],
                ls="",
                marker=_marker(stride),
                color="0.75",
                mec="0.15",
                ms=8,
                label=f"stride {stride}",
            )
            for stride in strides
        ),
    ]
