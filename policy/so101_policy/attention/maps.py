"""Where in its pictures an ACT looks: the decoder's cross-attention to each camera, as a small map.

A cell is a vision token: a window of the picture (32 x 32 pixels behind a ResNet; what it knows of comes from farther
around, and with encoder layers from everywhere). Its value is the share of all attention that it got, mean over batch,
layers, heads and queries, so that a camera's map sums to the camera's share in `attention.AttentionShares`.

Maps are made on request only: they are for eyes, cost a second transfer from a GPU, and say no more than shares do
about what an action depends on.

Shapes: B batch, H heads, Q queries, S keys (tokens).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from so101_policy.attention.shares import TokenLayout
from so101_policy.errors import PolicyError

Maps = dict[str, NDArray[np.float32]]
"""Camera -> (rows, columns), as the picture lies: row 0 on top, column 0 on the left."""

Grids = Mapping[str, tuple[int, int]]
"""Camera -> (rows, columns) of its tokens."""


def maps_of(weights: Sequence[Tensor], layout: TokenLayout, grids: Grids) -> Maps:
    """Maps of cross-attention `weights`, one tensor (B, H, Q, S) of probabilities per decoder layer.

    LeRobot lays a camera's tokens out row by row, which is what turns them into a picture again here.

    Raises:
        PolicyError: the weights have another number of keys than the layout, or a grid another number of cells than
            its camera has tokens.
    """
    tokens = {name: part.stop - part.start for name, part in layout.cameras.items()}
    cells = {name: rows * columns for name, (rows, columns) in grids.items()}
    keys = {int(x_BHQS.shape[-1]) for x_BHQS in weights}
    if cells != tokens or keys != {layout.total}:
        raise PolicyError(
            f"attention to {', '.join(map(str, sorted(keys)))} tokens of which cameras have {tokens or 'none'} is no "
            f"picture of {cells or 'none'} cells"
        )
    mean_S = torch.stack([x_BHQS.detach().float().mean((0, 1, 2)) for x_BHQS in weights]).mean(0)
    shares_S = mean_S.cpu().numpy()
    return {name: shares_S[part].reshape(grids[name]).copy() for name, part in layout.cameras.items()}
