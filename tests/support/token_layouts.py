"""Where the tokens of a made-up policy are."""

import itertools

from so101_policy.attention.shares import TokenLayout


def layout_of(*cameras: int, state: bool = True, environment: bool = False) -> TokenLayout:
    start = 1 + state + environment
    ends = list(itertools.accumulate(cameras, initial=start))
    return TokenLayout(
        slice(0, 1),
        slice(1, 2) if state else None,
        slice(1 + state, 2 + state) if environment else None,
        {f"cam{i}": slice(*ends[i : i + 2]) for i in range(len(cameras))},
        ends[-1],
    )
