"""All that `so101-data check` finds out: the look, what only a person needs to know, and the page's numbers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from so101_eval.dataset_report.picks import Picks, picks_of
from so101_policy.dataset_check.description import ACTION, STATE
from so101_policy.dataset_check.explained import AHEAD_S, Explained, explained_by_state
from so101_policy.dataset_check.look import Look
from so101_policy.dataset_check.measures import MEASURES, Measures, Unusual, measures_of, unusual
from so101_policy.dataset_check.pictures import CameraFigures, look_at_pictures
from so101_policy.errors import DatasetError
from so101_policy.findings import Finding, Level, as_json
from so101_policy.names import camera_name

HIGH = 0.9
"""A share of the action that the joints explain, which is doubtful."""
DARK, BRIGHT = 0.08, 0.92
"""Mean brightness of pictures that show little."""
OTHER_LIGHT = 0.15
"""By which an episode's brightness differs from the median, and a person would see it."""
BLURRED = 0.3
"""Of the median sharpness."""
REPEATED = 0.05
"""Share of repeated pictures while the arm moves."""


class Report(NamedTuple):
    """Parts that could not be made are None."""

    seen: Look
    findings: list[Finding]
    measures: Measures | None = None
    unusual: list[Unusual] | None = None
    explained: Explained | None = None
    picks: Picks | None = None
    cameras: dict[str, CameraFigures] | None = None


def make_report(seen: Look, with_pictures: bool, advance: Callable[[], object] = lambda: None) -> Report:
    """Everything, as far as the dataset is right."""
    used, findings = seen.used, list(seen.findings)
    if (
        seen.is_wrong
        or used is None
        or seen.episodes is None
        or not {STATE, ACTION} <= used.rows.columns.keys()
    ):
        return Report(seen, findings)
    measures = measures_of(used, seen.unit)
    odd, explained = unusual(measures), explained_by_state(used)
    findings += seen.statistics_of(range(len(seen.episodes.first))).notes
    findings += [*_of_episodes(odd), *_of_explained(explained)]
    picks, cameras = None, None
    try:
        picks = picks_of(used, seen.unit)
        if with_pictures:
            cameras = look_at_pictures(used, seen.episodes, measures.idle_N, advance)
            findings += [
                f for key, camera in cameras.items() for f in _of_camera(key, camera, measures.episodes)
            ]
    except DatasetError as error:
        findings.append(Finding(Level.STOP, "files", "", str(error)))
    return Report(seen, findings, measures, odd, explained, picks, cameras)


def shown(finding: Finding, root: Path) -> Finding:
    """With paths from the dataset's folder, which is named above."""
    texts = (text.replace(f"{root}/", "") for text in (finding.subject, finding.found, finding.possible))
    subject, found, possible = texts
    return finding._replace(subject=subject, found=found, possible=possible)


def headline(report: Report) -> str:
    """In one sentence."""
    stops = sum(finding.level == Level.STOP for finding in report.findings)
    doubts = sum(finding.level == Level.WARN for finding in report.findings)
    if stops:
        return f"{stops} {'thing is' if stops == 1 else 'things are'} wrong: no command uses this dataset as it is"
    if doubts:
        return f"Nothing is wrong, {doubts} {'thing is' if doubts == 1 else 'things are'} doubtful"
    return "Nothing is wrong, and nothing doubtful was found"


def as_data(report: Report) -> dict[str, Any]:
    """For another program: everything but the pictures."""
    data: dict[str, Any] = as_json(report.findings) | {"root": str(report.seen.root)}
    about, used = report.seen.about, report.seen.used
    if about is not None:
        cameras = {camera_name(key): about.features[key].size_px for key in about.cameras}
        data |= {"fps": about.fps, "episodes": about.episodes, "frames": about.frames, "cameras_px": cameras}
        data |= {"unit": str(report.seen.unit)}
    if used is None or report.measures is None:
        return data
    state_NJ = used.column(STATE)
    low, high = np.percentile(state_NJ, (1, 99), axis=0)
    data["joints"] = {
        used.about.features[STATE].entry(j): {
            "min": float(state_NJ[:, j].min()), "max": float(state_NJ[:, j].max()),
            "p1": float(low[j]), "p99": float(high[j]),
        }
        for j in range(state_NJ.shape[1])
    }  # fmt: skip
    data["idle_share"] = float(report.measures.idle_N.mean())
    data["by_episode"] = [
        {"episode": episode, **{name: values[e] for name, values in report.measures.values.items()}}
        for e, episode in enumerate(report.measures.episodes)
    ]
    data["unusual"] = [each._asdict() for each in report.unusual or []]
    if report.explained is not None:
        joints = {name: share._asdict() for name, share in report.explained.joints.items()}
        data["explained_by_state"] = report.explained.whole._asdict() | {"ahead_s": AHEAD_S, "joints": joints}
    if report.picks is not None:
        data["picked"] = {
            "exact": report.picks.is_exact, "points_m": report.picks.points_m.round(4).tolist(),
            "episodes": report.picks.episodes, "area_cm2": report.picks.area_cm2,
        }  # fmt: skip
    if report.cameras is not None:
        data["cameras"] = {
            camera_name(key): {name: value for name, value in camera._asdict().items() if name != "first"}
            for key, camera in report.cameras.items()
        }
    return data


def _of_episodes(odd: list[Unusual]) -> Iterator[Finding]:
    for each in odd:
        unit = MEASURES[each.measure]
        found, usual = (_amount(value, unit) for value in (each.value, each.median))
        yield Finding(
            *(Level.WARN, "unusual", f"episode {each.episode}", f"{each.measure} {found}"),
            *(f"about {usual}, as the others", "look at it, and leave it out if something went wrong"),
        )


def _amount(value: float, unit: str) -> str:
    return f"{value:.0%}" if unit == "share" else f"{value:.3g} {unit}"


def _of_explained(explained: Explained | None) -> Iterator[Finding]:
    if explained is not None and explained.whole.low > HIGH:
        value, low, high = explained.whole
        yield Finding(
            *(
                Level.WARN,
                "state",
                "",
                f"the joints alone explain {value:.0%} [{low:.0%}, {high:.0%}] of the movement",
            ),
            f"below {HIGH:.0%}",
            "a policy can do without its cameras: put the objects elsewhere in each episode",
        )


def _of_camera(key: str, camera: CameraFigures, episodes: list[int]) -> Iterator[Finding]:
    name = f"camera {camera_name(key)}"
    bright, sharp = np.array(camera.brightness), np.array(camera.sharpness)
    middle = float(np.median(bright))
    if not DARK < middle < BRIGHT:
        yield Finding(
            *(Level.WARN, "cameras", name, f"brightness {middle:.2f}", f"{DARK} to {BRIGHT}"),
            "the pictures show little: correct light or exposure",
        )
    for e in np.flatnonzero(np.abs(bright - middle) > OTHER_LIGHT).tolist():
        yield Finding(
            *(Level.WARN, "cameras", f"{name}, episode {episodes[e]}", f"brightness {bright[e]:.2f}"),
            *(f"about {middle:.2f}, as the others", "the light or the exposure was another"),
        )
    for e in np.flatnonzero(sharp < BLURRED * np.median(sharp)).tolist():
        yield Finding(
            *(Level.WARN, "cameras", f"{name}, episode {episodes[e]}", f"sharpness {sharp[e]:.3g}"),
            *(f"about {np.median(sharp):.3g}, as the others", "blurred, covered or out of focus"),
        )
    if camera.repeated > max(2.0, REPEATED * camera.pairs):
        yield Finding(
            *(
                Level.WARN,
                "cameras",
                name,
                f"{camera.repeated} of {camera.pairs} sampled pictures are stored twice",
            ),
            *("a new one in each frame", "the camera was slower than the recording, or frames were lost"),
        )
