"""What an action depends on: cameras or joint state, found by exchanging one of them and looking at the action.

Attention says where a decoder looks. These probes ask what follows: in each frame a modality is replaced by that of a
donor, a frame of another episode, and the action is predicted again.

    reliance = D_state / (D_state + D_images),  D_m = mean |a(x) - a(x with modality m of the donor)|

over the steps that are executed before the next inference; 1 follows the joint state alone, 0 the cameras alone.
Donors come from anywhere in another episode, or from the same phase of the task there, which keeps the pair nearer to
what the policy was trained on. With phase-matched donors there is the cue conflict too (the robotics form of
Geirhos et al. 2019): image of A, state of B, both ways round,

    VCI = <pi(I_A, q_B) - pi(I_B, q_B), d> / |d|^2,  d = pi(I_A, q_A) - pi(I_B, q_B)

which is 1 where the action follows the image and 0 where it follows the state; it can lie outside, since image and
state need not add up. Two more probes show the image of the episode's start (is the loop through the cameras closed?)
and one of a moment ago. All of it is on recorded frames: it says what an action depends on, not whether it succeeds.

Pure: a policy is a function `predict(batch) -> actions_BTA` in normalised units, so it can be built by hand.

Shapes: F frames, N pictures, S joints, B batch, T chunk, A action, H W pixels.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from lerobot.utils.constants import OBS_STATE
from numpy.typing import NDArray
from torch import Tensor

from so101_policy.errors import PolicyError
from so101_policy.reliance.intervals import Bootstrap, Resampled, Values
from so101_policy.reliance.phases import PHASES

Indices = NDArray[np.int64]
Predict = Callable[[dict[str, Tensor]], Tensor]
Figures = dict[tuple[str, ...], Resampled]
"""By path, e.g. ("reliance", "any", "executed"); the paths are listed in `figures_of`."""

ANY, SAME_PHASE, FROZEN, DELAYED, CLEAN = "any", "phase", "frozen", "delayed", "clean"
STATE, IMAGES = "state", "images"

FIRST = 5
"""Of the executed steps, looked at on their own: the state's shortcut is strongest there."""
TINY = 0.25
"""A pair whose actions differ by less than this part of the median pair has no direction to speak of."""
BATCH = 32


class Views(NamedTuple):
    """The frames that are probed, as the robot saw and the demonstrator acted."""

    state_FS: Tensor
    pictures: dict[str, Tensor]
    """Batch key -> (N, 3, H, W) uint8; a frame's picture is a row of it."""
    now_F: Indices
    first_F: Indices
    """Row of the picture at the start of the frame's episode."""
    earlier_F: Indices
    """Row of the picture some frames earlier in the same episode."""
    action_FTA: Tensor
    """The demonstrated commands, in the policy's normalised units where `figures_of` gets them."""
    is_pad_FT: Tensor
    """True after the episode's end."""
    episode_F: Indices
    phase_F: Indices


class Donors(NamedTuple):
    """For each frame a frame of another episode; -1 where there is none."""

    any_F: Indices
    phase_F: Indices


class Probe(NamedTuple):
    """One way to exchange something: `kind` says with what, `part` what."""

    kind: str
    part: str = ""


def draw_donors(views: Views, seed: int = 0) -> Donors:
    """Uniformly among the frames of other episodes, and among those of them in the same phase."""
    generator = np.random.default_rng(seed)
    anywhere = np.zeros_like(views.phase_F)
    return Donors(*(_draw(views.episode_F, group, generator) for group in (anywhere, views.phase_F)))


def _draw(episode_F: Indices, group_F: Indices, generator: np.random.Generator) -> Indices:
    donor_F = np.full(len(episode_F), -1)
    for frame, (episode, group) in enumerate(zip(episode_F, group_F, strict=True)):
        candidates = np.flatnonzero((episode_F != episode) & (group_F == group))
        if len(candidates):
            donor_F[frame] = generator.choice(candidates)
    return donor_F


def probes_of(views: Views) -> list[Probe]:
    """All probes, the undisturbed frames first; a single camera is `images` already."""
    cameras = list(views.pictures) if len(views.pictures) > 1 else []
    exchanged = [Probe(kind, part) for kind in (ANY, SAME_PHASE) for part in (STATE, IMAGES, *cameras)]
    return [Probe(CLEAN), *exchanged, Probe(FROZEN), Probe(DELAYED)]


def run_probe(
    predict: Predict,
    views: Views,
    donors: Donors,
    probe: Probe,
    advance: Callable[[int], object] | None = None,
) -> Tensor:
    """(F, T, A) what `predict` does under one probe; NaN for a frame without donor."""
    frames, chunks = np.arange(len(views.state_FS)), list[Tensor]()
    donor_F = {ANY: donors.any_F, SAME_PHASE: donors.phase_F}.get(probe.kind, frames)
    there = np.flatnonzero(donor_F >= 0)
    rows_F = {FROZEN: views.first_F, DELAYED: views.earlier_F}.get(probe.kind, views.now_F)
    for batch_B in _batches(there):
        state_B = donor_F[batch_B] if probe.part == STATE else batch_B
        seen = {
            key: rows_F[donor_F[batch_B] if probe.part in (IMAGES, key) else batch_B]
            for key in views.pictures
        }
        with torch.no_grad():
            chunks.append(_finite(predict(batch_of(views, state_B, seen))))
        if advance:
            advance(len(batch_B))
    actions_BTA = torch.cat(chunks)
    actions_FTA = torch.full((len(frames), *actions_BTA.shape[1:]), torch.nan)
    actions_FTA[torch.from_numpy(there)] = actions_BTA
    return actions_FTA


def _finite(actions_BTA: Tensor) -> Tensor:
    if not actions_BTA.isfinite().all():
        raise PolicyError(
            "the policy gives actions that are no numbers (NaN or infinite), so nothing can be compared"
        )
    return actions_BTA.detach().float().cpu()


def batch_of(views: Views, state_B: Indices, rows: Mapping[str, Indices]) -> dict[str, Tensor]:
    """A batch as LeRobot's datasets give it: joints in the robot's units, images (B, 3, H, W) in 0..1."""
    images = {key: views.pictures[key][torch.from_numpy(row_B)].float() / 255 for key, row_B in rows.items()}
    return {OBS_STATE: views.state_FS[torch.from_numpy(state_B)], **images}


def _batches(indices: Indices) -> Iterator[Indices]:
    for start in range(0, len(indices), BATCH):
        yield indices[start : start + BATCH]


def figures_of(
    actions: Mapping[Probe, Tensor], views: Views, donors: Donors, n_action_steps: int, bootstrap: Bootstrap
) -> Figures:
    """Every figure of one policy, from its actions under every probe.

    Paths: (reliance, any|phase, WINDOW), (cue_conflict, WINDOW), (change, KIND, PART), (error, KIND, PART) with
    KIND and PART of the probes, and for every phase (phases, PHASE, reliance|cue_conflict|error). WINDOW is executed or
    first_5. `change` is D; `error` is the L1 to the demonstrated actions. Both in normalised units.
    """
    windows = {"executed": n_action_steps, f"first_{FIRST}": min(FIRST, n_action_steps)}
    donor_of = {ANY: donors.any_F, SAME_PHASE: donors.phase_F}
    figures: Figures = {}
    for window, steps in windows.items():
        for kind, donor_F in donor_of.items():
            state_F, image_F = (change(actions, Probe(kind, part), steps) for part in (STATE, IMAGES))
            figures["reliance", kind, window] = bootstrap.ratio(state_F, state_F + image_F, donor_F)
        figures["cue_conflict", window] = bootstrap.mean(cue_conflict(actions, donors, steps), donors.phase_F)
    for probe in actions:
        donor_F, path = donor_of.get(probe.kind), tuple(filter(None, probe))
        if probe.kind != CLEAN:
            figures["change", *path] = bootstrap.mean(change(actions, probe, n_action_steps), donor_F)
        figures["error", *path] = bootstrap.mean(error(actions[probe], views, n_action_steps), donor_F)
    return figures | _by_phase(actions, views, donors, n_action_steps, bootstrap)


def _by_phase(
    actions: Mapping[Probe, Tensor], views: Views, donors: Donors, steps: int, bootstrap: Bootstrap
) -> Figures:
    state_F, image_F = (change(actions, Probe(SAME_PHASE, part), steps) for part in (STATE, IMAGES))
    conflict_F, error_F = cue_conflict(actions, donors, steps), error(actions[Probe(CLEAN)], views, steps)
    figures: Figures = {}
    for index, phase in enumerate(PHASES):
        if not (inside_F := views.phase_F == index).any():
            continue
        s_F, i_F, c_F, e_F = (np.where(inside_F, x, np.nan) for x in (state_F, image_F, conflict_F, error_F))
        figures["phases", phase, "reliance"] = bootstrap.ratio(s_F, s_F + i_F, donors.phase_F)
        figures["phases", phase, "cue_conflict"] = bootstrap.mean(c_F, donors.phase_F)
        figures["phases", phase, "error"] = bootstrap.mean(e_F)
    return figures


def change(actions: Mapping[Probe, Tensor], probe: Probe, steps: int) -> Values:
    """(F,) mean |a(x) - a(x')| over the first `steps` steps and all joints."""
    difference_FTA = actions[probe][:, :steps] - actions[Probe(CLEAN)][:, :steps]
    return difference_FTA.abs().double().mean((1, 2)).numpy()


def error(actions_FTA: Tensor, views: Views, steps: int) -> Values:
    """(F,) L1 to what was demonstrated, over the steps before the episode's end; NaN where there is none."""
    valid_FT = (~views.is_pad_FT[:, :steps]).double()
    error_FT = (actions_FTA[:, :steps] - views.action_FTA[:, :steps]).abs().double().mean(2)
    return ((error_FT * valid_FT).sum(1) / valid_FT.sum(1)).numpy()


def cue_conflict(actions: Mapping[Probe, Tensor], donors: Donors, steps: int) -> Values:
    """(F,) VCI of each frame with its phase-matched donor, both ways round; NaN for a pair without direction."""
    clean_FX = actions[Probe(CLEAN)][:, :steps].double().flatten(1)
    state_FX, images_FX = (
        actions[Probe(SAME_PHASE, part)][:, :steps].double().flatten(1) for part in (STATE, IMAGES)
    )
    donor_FX = clean_FX[torch.from_numpy(donors.phase_F)]  # -1: some frame; NaN by state_FX and images_FX
    d_FX = clean_FX - donor_FX
    square_F = d_FX.square().sum(1)
    one_way_F = ((state_FX - donor_FX) * d_FX).sum(1) / square_F
    other_way_F = ((clean_FX - images_FX) * d_FX).sum(1) / square_F
    norm_F = square_F.sqrt()
    matched = norm_F[torch.from_numpy(donors.phase_F >= 0)]
    small = matched.median().item() * TINY if len(matched) else 0.0
    directed_F = (norm_F > small) & (norm_F > 1e-6)
    return torch.where(directed_F, (one_way_F + other_way_F) / 2, torch.nan).numpy()
