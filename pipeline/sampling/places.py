"""How much each of several boxes counts in each cell of the latents."""

from collections.abc import Sequence

import torch

from pipeline.sampling.composition import Box, cut


def shares(boxes: Sequence[Box], side: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """How much each box counts in each cell of a square of `side` cells, and how much what no box covers.

    Cells that a box cuts count by the part of them inside it; where boxes overlap their mean counts, as in
    MultiDiffusion (Bar-Tal et al. 2023, arXiv 2302.08113, equation 5).

    Returns:
        float32 [side, side] for each box, and the rest; in each cell they sum to 1.
    """
    if not boxes:
        return [], torch.ones(side, side)
    covered = [_line(top, bottom, side)[:, None] * _line(left, right, side) for left, top, right, bottom in boxes]
    total = torch.stack(covered).sum(0)
    rest = (1 - total).clamp_min(0)
    return [cells / (total + rest) for cells in covered], rest / (total + rest)


def pieces(boxes: Sequence[Box], side: int) -> dict[tuple[int, ...], torch.Tensor]:
    """The pieces into which the edges of boxes cut a square of `side` cells, by the numbers of the boxes over each.

    Returns:
        float32 [side, side]: the part of each cell that lies in the piece; in each cell they sum to 1.
    """
    found: dict[tuple[int, ...], torch.Tensor] = {}
    for (left, top, right, bottom), over in cut(boxes):
        inside = _line(top, bottom, side)[:, None] * _line(left, right, side)
        found[over] = found[over] + inside if over in found else inside
    return found


def to_middle(box: Box, side: int) -> tuple[int, int]:
    """By how many cells (down, right) a box of a square of `side` cells moves for its middle to be the square's.

    It never leaves the square on the way: rolled by this, its cells stay together.
    """
    left, top, right, bottom = box
    return round((0.5 - (top + bottom) / 2) * side), round((0.5 - (left + right) / 2) * side)


def _line(start: float, end: float, cells: int) -> torch.Tensor:
    edges = torch.arange(cells + 1, dtype=torch.float64) / cells
    return ((edges[1:].clamp_max(end) - edges[:-1].clamp_min(start)).clamp_min(0) * cells).float()
