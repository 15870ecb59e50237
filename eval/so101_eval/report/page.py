"""Report data -> one HTML page that needs nothing but itself: no script, no font, no request leaves it.

The page's own policy (Content-Security-Policy) forbids whatever is not inside it.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from so101_eval.html import Section, fill
from so101_eval.palletizing.scene.tasks import POSITION_TOLERANCE_MM
from so101_eval.report.figures import (
    beside,
    curves,
    evidence,
    forest,
    funnel,
    heat,
    probes,
    rates,
    scatter,
    success_map,
)
from so101_eval.report.figures.svg import css_colour, number_of
from so101_eval.report.media import Clip, clip_key

TEMPLATE = Path(__file__).parent / "templates" / "page.html"


class Part(NamedTuple):
    """A heading, how to read what follows, and what draws it."""

    id: str
    title: str
    lead: str
    draw: Callable[[dict[str, Any]], Markup]


MAIN = (
    Part(
        "success",
        "How often does each variant succeed?",
        "{main}: {done}. The shape is how likely each success rate "
        "is after these episodes (uniform prior); dot and whisker are the rate and its 95 % interval.{dots}{letters}",
        rates.posteriors,
    ),
    Part(
        "glance",
        "All at a glance",
        "Difference to {baseline} in points, by scenario and variant, with the number of scenes. Blue is better, "
        "orange worse; a frame and bold digits: resolved after Holm. Where a cell is underlined, it leads to episodes "
        "in which only one of the two succeeded.",
        heat.glance,
    ),
    Part(
        "differences",
        "Where does it make a difference?",
        "Difference to {baseline} on the same scenes, in percentage points with its 95 % interval. A filled dot is "
        "resolved after Holm over all {comparisons} comparisons of this picture; for a hollow one "
        "no difference was detected, which is not the same as equal.",
        forest.forest,
    ),
    Part(
        "scenarios",
        "How does it hold up when things shift?",
        "Success rate and 95 % interval in every scenario, variants in the order of the legend; the number after the "
        "colon is the severity.{dots}",
        rates.by_cell,
    ),
    Part(
        "severity",
        "And when they shift further?",
        "Difference to {baseline} in points, by scenario and severity, with the number of scenes. Colours, frames and "
        "links as above.",
        heat.severities,
    ),
    Part(
        "evidence",
        "How did the evidence come in?",
        "The e-value against “{baseline} is as good”, scene after scene, for these checkpoints on further scenes. If "
        "there were no difference, it would ever reach the line in at most {alpha:g} % of studies, however often one "
        "looks.{decides}",
        evidence.e_paths,
    ),
    Part(
        "time",
        "How fast?",
        "Share of episodes that had succeeded by a time{bands}.{pooled}",
        curves.success_curves,
    ),
    Part(
        "throughput",
        "How many boxes an hour?",
        "Good boxes per hour of robot time, and mishaps per hundred boxes, with exact 95 % Poisson intervals "
        "(Garwood).{pooled}",
        curves.throughput,
    ),
    Part(
        "milestones",
        "Where are boxes lost?",
        "Share of boxes that passed each milestone, with 95 % intervals (Wilson, boxes taken as independent).{mark}"
        "{pooled}",
        funnel.funnel,
    ),
    Part(
        "placement",
        "How exactly are boxes placed?",
        "Pallets from above, to scale; every dot is a good box, every cross one that did not count. The dashed circle "
        "is the tolerance of {tolerance:g} mm.",
        scatter.scatter,
    ),
    Part(
        "positions",
        "Where may a box lie?",
        "The table from above, to scale, in box-everywhere at its strongest level. A dot is a box that was placed, a "
        "cross one that was not, each where it lay at the start; the grey area is where boxes lie in demonstrations.",
        success_map.success_map,
    ),
    Part(
        "arm-and-simulation",
        "Does the simulation say what the arm says?",
        "Episodes of the same policy from the same start, on the arm and in the simulation. Hollow dots: success on "
        "the arm minus success in the simulation. Filled dots: the difference on the arm between the variants, by its "
        "own trials alone, and with the simulation's further starts (prediction-powered, PPI++): what the simulation "
        "has wrong on average cancels, and where it knows which starts are hard, the interval is narrower. The study "
        "was decided by its own trials; this is beside it.",
        beside.sim_to_real,
    ),
    Part(
        "hand",
        "Does the hand go where the box is?",
        "How far the hand, where it first closes low over the table, follows a box that starts {asked:.0f} mm "
        "elsewhere. {asked:.0f} mm (dashed) is all the way, 0 a motion that was learned by heart. From the measured "
        "joints and the measured starts; 95 % intervals by bootstrap over trials.{nearest}",
        beside.hand,
    ),
)
RELIANCE = (
    Part(
        "probes",
        "Probes",
        "What happens to the action when an input is exchanged, on {frames} recorded frames: this is what a policy "
        "depends on. 95 % intervals are bootstrapped over episodes.",
        probes.probes,
    ),
    Part(
        "phases", "Phase by phase", "The same reliance, in each phase of a pick and place.", probes.by_phase
    ),
    Part(
        "attention",
        "Attention shares: a diagnostic",
        "Where decoders look: the shares of state, vision and latent, mean over the episodes. The "
        "mark is the share of state under uniform attention. Some losses move these numbers by design, so they are no "
        "evidence of what a policy relies on.",
        probes.attention,
    ),
    Part(
        "predictors",
        "Does any of it predict success?",
        "A dot is a checkpoint; upwards is its success in the nominal scene. Rank correlations over all checkpoints, "
        "and within variants, where only the training seed differs. Intervals by Fisher’s z; where there are too few "
        "checkpoints, no number is given.",
        probes.predictors,
    ),
)


def render(
    data: Mapping[str, Any], media: Mapping[str, Clip] | None = None, problems: Sequence[str] = ()
) -> str:
    """The page. `media` holds clips and pictures by `clip_key`, `problems` says what could not be shown."""
    plain = dict(data)
    numbers = number_of(plain)
    values = {
        "data": plain,
        "variants": [(variant, css_colour(numbers[variant["name"]])) for variant in plain["variants"]],
        "colours": {name: css_colour(number) for name, number in numbers.items()},
        "sections": drawn(MAIN, plain),
        "reliance": drawn(RELIANCE, plain),
        "media": media or {},
        "problems": problems,
        "key": clip_key,
    }
    return fill(TEMPLATE, values, {"percent": _percent, "flags": _flags})


def _flags(text: str) -> Markup:
    """Flags as code, which is not broken at a hyphen."""
    return Markup(re.sub(r"(--\w+(?:=\S*\w)?)", r"<code>\1</code>", str(escape(text))))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def drawn(parts: Sequence[Part], data: dict[str, Any]) -> list[Section]:
    """Those of them for which there are data, in order."""
    known, words = available(data), _words(data)
    return [
        Section(part.id, part.title, part.lead.format(**words), part.draw(data))
        for part in parts
        if known[part.id]
    ]


def available(data: dict[str, Any]) -> dict[str, bool]:
    """Which parts there is something to say in."""
    policies = data["reliance"]["policies"]
    played = any(variant["times"]["episodes"] for variant in data["variants"])
    return {
        "success": played,
        "differences": bool(data["contrasts"]),
        "scenarios": len(data["cells"]) > 1,
        "glance": len(data["cells"]) > 1 and bool(data["contrasts"]),
        "severity": heat.has_severities(data) and bool(data["contrasts"]),
        "evidence": bool(data["evidence"]),
        "time": played,
        "throughput": any(variant["throughput"] for variant in data["variants"]),
        "milestones": played and not data["task"]["own"],
        "placement": played and not data["task"]["own"],
        "positions": bool(data["maps"]),
        "arm-and-simulation": bool(data["sim_to_real"]["gaps"]),
        "hand": bool(data["hand"]),
        "probes": any(value for row in policies for value in row["probes"].values()),
        "phases": any(value for row in policies for value in row["phases"].values()),
        "attention": any(row["episodes_with_shares"] for row in policies),
        "predictors": bool(data["reliance"]["predictors"]),
    }


def _words(data: dict[str, Any]) -> dict[str, Any]:
    """What leads are filled with."""
    baseline = data["variants"][0]["name"]
    variants = sum(bool(variant["times"]["episodes"]) for variant in data["variants"])
    several, seeds = (
        len(data["variants"]) > 1,
        any(len(variant["train_seeds"]) > 1 for variant in data["variants"]),
    )
    pairs = data["letters"]["pairs"]
    family = f" (Holm over {pairs} pairs)" if pairs > 1 else ""
    letters = f" Between variants that share a letter no difference was detected{family}."
    return {
        "baseline": baseline,
        "main": data["main"],
        "done": "as the operator judged it by the stages of the task"
        if data["task"]["own"]
        else f"all boxes in their slots, none dropped, within {data['task']['time_limit_s']:g} s",
        "comparisons": len(data["contrasts"]),
        "alpha": 100 * data["alpha"],
        "tolerance": POSITION_TOLERANCE_MM,
        "frames": _frames(data),
        "asked": data["hand"][0]["asked_mm"] if data["hand"] else 0.0,
        "nearest": " With several boxes the one nearest to the hand is meant, which flatters a policy a little."
        if any(row["several_boxes"] for row in data["hand"])
        else "",
        "bands": ", with 95 % bands (Wilson, at each time)"
        if variants <= curves.BANDS
        else "; medians are below",
        "letters": letters if several else "",
        "mark": f" The vertical mark is {baseline}." if several else "",
        "dots": " Rings are single training seeds." if seeds else "",
        "decides": " It may decide where the luck of training leaves the ways to train open."
        if seeds
        else "",
        "pooled": " Of these checkpoints together, without the luck of training." if seeds else "",
    }


def _frames(data: dict[str, Any]) -> int:
    """Policies that were probed one by one were shown the same ones."""
    studies = {json.dumps(study, sort_keys=True): study["frames"] for study in data["reliance"]["frames"]}
    return sum(studies.values())
