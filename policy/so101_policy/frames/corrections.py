"""Which frames of a dataset with takeovers are trained on, and how often.

A column `intervention` says on which frames a person drove, as in LeRobot's human-in-the-loop data. Trained on
corrections alone, an action chunk ends with its correction, as it ends with its episode: what the policy did after the
person had given back is not shown to it as if the person had done it.
"""

import numpy as np
from numpy.typing import NDArray

from so101_policy.errors import PolicyError
from so101_policy.frames.samples import Samples
from so101_policy.names import INTERVENTION

ALL, ONLY, WEIGHTED = "all", "only", "weighted"
USES = (ALL, ONLY, WEIGHTED)


def is_correction(samples: Samples) -> NDArray[np.bool_]:
    """(N,) whether a person drove, for every frame of the dataset.

    Raises:
        PolicyError: the dataset does not say it, or no person did in the chosen episodes.
    """
    column = samples.columns.get(INTERVENTION)
    if column is None:
        raise PolicyError(
            f"the dataset has no column {INTERVENTION}, which says where a person drove: record with so101-run and a "
            "leader at --teleop.port, or take --corrections.use=all"
        )
    is_N = column.cpu().numpy().reshape(-1).astype(np.bool_)
    if not is_N[samples.indices].any():
        raise PolicyError(f"no frame of the chosen episodes is a correction ({INTERVENTION} is false on all)")
    return is_N


def drawn(indices: NDArray[np.int64], is_N: NDArray[np.bool_], use: str, weight: int) -> NDArray[np.int64]:
    """Frames (n,) to draw from, ascending; one that is drawn several times in an epoch is there as often.

    Args:
        indices: (m,) frames, ascending.
        is_N: (N,) whether a person drove.
        use: one of `USES`.
        weight: how often a correction is drawn, where the others are drawn once.
    """
    if use == ONLY:
        return indices[is_N[indices]]
    if use == WEIGHTED:
        return np.repeat(indices, np.where(is_N[indices], weight, 1))
    return indices


def ends_of(is_N: NDArray[np.bool_], last_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) the last frame of each frame's correction; of a frame that is none, of its episode.

    Args:
        is_N: (N,) whether a person drove.
        last_N: (N,) the last frame of each frame's episode.
    """
    count = len(is_N)
    numbers = np.arange(count)
    is_end = is_N & ((numbers == last_N) | ~np.append(is_N[1:], False))
    following = np.minimum.accumulate(np.where(is_end, numbers, count - 1)[::-1])[::-1]
    return np.where(is_N, following, last_N)
