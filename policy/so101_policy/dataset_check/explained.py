"""How much of the action does the joint state alone explain?

A policy that can tell from its joints what comes next need not look. So: from the state of a frame, without pictures
and without history, the movement of the next second is predicted by a ridge regression on the joints, their squares and
products, fitted on other episodes. The share of the movement's variance that this explains is R^2; what is measured
against is the mean movement. A network can fit more than squares and products, so the true share is this or higher.

    high   the demonstrations are much the same: a policy can do well on them, held-out episodes included, without
           its cameras, and will do the same when objects lie elsewhere
    low    what comes next has to be seen

Intervals are bootstrapped over episodes.

Shapes: N frames, J joints, F features.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_policy.dataset_check.description import ACTION, STATE
from so101_policy.dataset_check.numbers import Used

type Array = NDArray[np.float64]

AHEAD_S = 1.0
"""The movement that is predicted: from the state now to the action so much later."""
FOLDS = 5
LEAST_EPISODES = 4
PENALTIES = (1e-3, 1e-1, 1e1, 1e3)
"""Ridge penalties per frame of standardised features that are tried, with the joints and with squares and products; the
best fit counts."""
DRAWS = 1000
INTERVAL = (2.5, 97.5)
"""[%]"""
MOST_FRAMES = 60_000
"""Evenly spread; more changes the second digit no longer."""


class Share(NamedTuple):
    """Of the movement's variance, with its 95 % interval; 0 or less: no better than the mean movement."""

    value: float
    low: float
    high: float


class Explained(NamedTuple):
    """What the joint state alone explains."""

    whole: Share
    """All joints together, each in units of its own movement."""
    joints: dict[str, Share]
    frames: int
    episodes: int


def explained_by_state(used: Used) -> Explained | None:
    """None: too few episodes, or state and action are of other joints than each other."""
    columns = used.rows.columns
    if STATE not in columns or ACTION not in columns:
        return None
    state_NJ, action_NJ = used.column(STATE), used.column(ACTION)
    episodes = np.unique(used.episode_N)
    if len(episodes) < LEAST_EPISODES or state_NJ.shape != action_NJ.shape:
        return None
    now_N, later_N = _pairs(used)
    if len(now_N) < 2 * FOLDS:
        return None
    target_NJ = action_NJ[later_N] - state_NJ[now_N]
    moving_J = target_NJ.std(axis=0) > 1e-6
    target_NJ[:, moving_J] /= target_NJ[:, moving_J].std(axis=0)
    features_NF = _features(state_NJ[now_N])
    fold_N = np.searchsorted(episodes, used.episode_N[now_N]) % FOLDS
    misses = [
        _missed(features_NF[:, :count], target_NJ, fold_N, penalty)
        for count in (state_NJ.shape[1], features_NF.shape[1])  # the joints; with squares and products
        for penalty in PENALTIES
    ]
    missed_NJ, mean_missed_NJ = min(misses, key=lambda pair: float(pair[0][:, moving_J].sum()))
    of_N = np.searchsorted(episodes, used.episode_N[now_N])
    missed_EJ, mean_EJ = (_by_episode(values, of_N, len(episodes)) for values in (missed_NJ, mean_missed_NJ))
    names = [used.about.features[ACTION].entry(j) for j in range(target_NJ.shape[1])]
    joints = {
        name: _share(missed_EJ[:, j : j + 1], mean_EJ[:, j : j + 1])
        for j, name in enumerate(names)
        if moving_J[j]
    }
    whole = _share(missed_EJ[:, moving_J], mean_EJ[:, moving_J])
    return Explained(whole, joints, len(now_N), len(episodes))


def _pairs(used: Used) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frames, and those a second later in the same episode (its last one where it ends sooner)."""
    ahead = max(1, round(AHEAD_S * used.about.fps))
    now, later = [], []
    for span in used.spans():
        frames = np.arange(span.start, span.stop - 1)
        now.append(frames)
        later.append(np.minimum(frames + ahead, span.stop - 1))
    every = max(1, sum(map(len, now)) // MOST_FRAMES)
    return np.concatenate(now)[::every], np.concatenate(later)[::every]


def _features(state_NJ: Array) -> Array:
    """Standardised joints, their squares and products."""
    spread_J = state_NJ.std(axis=0)
    scaled = (state_NJ - state_NJ.mean(axis=0)) / np.where(spread_J > 1e-6, spread_J, 1.0)
    first, second = np.triu_indices(scaled.shape[1])
    return np.hstack([scaled, scaled[:, first] * scaled[:, second]])


def _missed(
    features_NF: Array, target_NJ: Array, fold_N: NDArray[np.int64], penalty: float
) -> tuple[Array, Array]:
    """Squared errors (N, J) of the fit, and of the mean, each on frames of episodes that were not fitted on."""
    missed, of_mean = np.zeros_like(target_NJ), np.zeros_like(target_NJ)
    for fold in range(FOLDS):
        test = fold_N == fold
        known_NF, known_NJ = features_NF[~test], target_NJ[~test]
        if not test.any() or not len(known_NF):
            continue
        mean_F, mean_J = known_NF.mean(axis=0), known_NJ.mean(axis=0)
        centred_NF = known_NF - mean_F
        ridge_FF = penalty * len(known_NF) * np.eye(known_NF.shape[1])
        weights_FJ = np.linalg.solve(centred_NF.T @ centred_NF + ridge_FF, centred_NF.T @ (known_NJ - mean_J))
        missed[test] = (target_NJ[test] - mean_J - (features_NF[test] - mean_F) @ weights_FJ) ** 2
        of_mean[test] = (target_NJ[test] - mean_J) ** 2
    return missed, of_mean


def _by_episode(values_NJ: Array, of_N: NDArray[np.int64], episodes: int) -> Array:
    sums = np.zeros((episodes, values_NJ.shape[1]))
    np.add.at(sums, of_N, values_NJ)
    return sums


def _share(missed_EJ: Array, of_mean_EJ: Array) -> Share:
    missed_E, mean_E = missed_EJ.sum(axis=1), of_mean_EJ.sum(axis=1)
    drawn_DE = np.random.default_rng(0).integers(0, len(missed_E), (DRAWS, len(missed_E)))
    shares_D = 1 - missed_E[drawn_DE].sum(axis=1) / np.maximum(mean_E[drawn_DE].sum(axis=1), 1e-12)
    low, high = np.percentile(shares_D, INTERVAL)
    return Share(float(1 - missed_E.sum() / max(mean_E.sum(), 1e-12)), float(low), float(high))
