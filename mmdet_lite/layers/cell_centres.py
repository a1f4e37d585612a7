"""Where the cells of a feature map lie, for sizes that a graph leaves open."""

import torch
from torch import Tensor


def cell_centres(
    height: int, width: int, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """The centres of a map's cells, row by row, a cell's side being 1.

    mmdet asks ``torch.linspace`` for them, of which a captured graph keeps the number
    of points: it would serve one size of image only. The numbers are the same.

    Args:
        height: of the map; a symbol, or a traced number, while a graph is captured.
        width: of the map, likewise.
        device: where to put them.

    Returns:
        tuple: x and y, float32, each (height * width,).
    """
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device) + 0.5,
        torch.arange(width, dtype=torch.float32, device=device) + 0.5,
        indexing="ij",
    )
    return x.flatten(), y.flatten()
