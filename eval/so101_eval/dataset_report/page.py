"""The page: needs nothing but itself, and nothing leaves it."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from so101_eval.dataset_report import figures
from so101_eval.dataset_report.report import Report, headline, shown
from so101_eval.html import Section, fill
from so101_policy.dataset_check.explained import AHEAD_S
from so101_policy.dataset_check.numbers import IDLE_S
from so101_policy.findings import Level
from so101_policy.names import camera_name

TEMPLATE = Path(__file__).parent / "templates" / "page.html"


def render(report: Report) -> str:
    """The page of a report."""
    about, used = report.seen.about, report.seen.used
    worst = [
        shown(finding, report.seen.root)
        for level in (Level.STOP, Level.WARN)
        for finding in report.findings
        if finding.level == level
    ]
    values = {
        "root": report.seen.root,
        "about": about,
        "cameras": []
        if about is None
        else [(camera_name(key), about.features[key].size_px) for key in about.cameras],
        "unit": str(report.seen.unit),
        "minutes": 0.0 if about is None else about.frames / about.fps / 60,
        "used": None if used is None else len(set(used.episode_N.tolist())),
        "headline": headline(report),
        "findings": worst,
        "sections": _sections(report),
        "starts": _starts(report),
    }
    return fill(TEMPLATE, values)


def _sections(report: Report) -> list[Section]:
    used, measures = report.seen.used, report.measures
    if used is None or measures is None:
        return []
    found: list[Section] = []
    if report.explained is not None:
        value, low, high = report.explained.whole
        found.append(
            Section(
                "joints alone",
                "What could a policy do without its cameras?",
                f"The joints alone explain {max(0.0, value):.0%} [{max(0.0, low):.0%}, {max(0.0, high):.0%}] of the "
                f"movement in the next {AHEAD_S:g} s, predicted from a single state by a small fit on other episodes "
                "(joints, squares and products; 95 % intervals over episodes). A network can find more. What the "
                "joints explain, a policy can do without its cameras, and it will do the same when things lie "
                "elsewhere: the higher, the more the objects should be moved from episode to episode.",
                figures.explained(report.explained),
            )
        )
    if report.picks is not None:
        source = (
            "Where the boxes lay, as so101-demos wrote it down."
            if report.picks.is_exact
            else "Where the fingertips were when the jaws closed, computed from the joints."
        )
        found.append(
            Section(
                "picked",
                "Which part of the table was shown?",
                f"{source} {len(report.picks.episodes)} places; their outline has {report.picks.area_cm2:.0f} cm². "
                "A policy can be expected to work inside it, not beside it.",
                figures.picked(report.picks),
            )
        )
    found.append(
        Section(
            "joints",
            "How much of its range did each joint use?",
            "Measured positions of all frames: the higher the shape, the more often the joint was there. "
            "On the right the smallest and the largest.",
            figures.joints(used),
        )
    )
    found.append(
        Section(
            "episodes",
            "Which episodes are unlike the others?",
            "A dot is an episode. Orange with its number: unusual, five times further from the median than "
            "episodes usually are. Measures that are the same in all episodes are left out.",
            figures.episodes(measures, report.unusual or []),
        )
    )
    share = float(measures.idle_N.mean())
    more = f" The first {figures.MOST_ROWS} episodes." if len(measures.episodes) > figures.MOST_ROWS else ""
    found.append(
        Section(
            "pauses",
            "Where does nothing move?",
            f"A bar is an episode; orange: no joint and no action moves for {IDLE_S:g} s or more. That is "
            f"{share:.0%} of all frames. Policies learn pauses, too, and may never end one.{more}",
            figures.pauses(measures, used),
        )
    )
    if report.cameras is not None:
        drawn = [figures.camera(camera_name(k), c, measures.episodes) for k, c in report.cameras.items()]
        repeated = ", ".join(
            f"{camera_name(key)} {camera.repeated} of {camera.pairs}"
            for key, camera in report.cameras.items()
        )
        found.append(
            Section(
                "cameras",
                "What did the cameras see?",
                "Brightness and sharpness (variance of the Laplacian) of a few pictures of each episode. Pictures "
                f"that are stored twice while the arm moved, of those sampled: {repeated}.",
                Markup("").join(drawn),
            )
        )
    return found


def _starts(report: Report) -> list[dict[str, Any]]:
    return [
        {"name": camera_name(key), "usual": usual, "differs": differs}
        for key, camera in (report.cameras or {}).items()
        for usual, differs in [figures.starts(camera)]
    ]
