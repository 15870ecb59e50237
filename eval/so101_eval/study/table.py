"""A study's trained policies as a table and a picture: what attention says, what probes say, what is lost under shift.

Every training seed is shown: with two or three of them a mean would hide what they differ by.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from so101_eval.study.design import VARIANTS
from so101_eval.study.probing import Findings


class Column(NamedTuple):
    """A column of the table: its heading and a policy's figure."""

    heading: str
    figure: Callable[[Findings], float]


COLUMNS = (
    Column("share: state", lambda x: x.share("state")),
    Column("latent", lambda x: x.share("latent")),
    Column("vision", lambda x: x.share("vision")),
    Column("reliance on state", lambda x: x.value("reliance", "any", "executed")),
    Column("same phase", lambda x: x.value("reliance", "phase", "executed")),
    Column("cue conflict: follows the image", lambda x: x.value("cue_conflict", "executed")),
    Column("held-out L1", lambda x: x.metrics["heldout_l1"]),
    Column("shifted L1", lambda x: x.metrics.get("shifted_l1", float("nan"))),
)


def markdown(findings: Sequence[Findings]) -> str:
    """One line a variant, the figures of its training seeds beside each other."""
    lines = [
        "| variant | " + " | ".join(column.heading for column in COLUMNS) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for variant, policies in by_variant(findings).items():
        cells = [" / ".join(f"{column.figure(policy):.2f}" for policy in policies) for column in COLUMNS]
        lines.append(f"| **{variant}**: {VARIANTS[variant].says} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def successes(report: Mapping[str, Any]) -> str:
    """Successes of each variant in each cell, from the data of `so101-eval report`: of all training seeds together and,
    in brackets, of each."""
    cells = [cell["label"] for cell in report["cells"]]
    found = {(rate["variant"], rate["cell"]): rate for rate in report["rates"]}
    lines = ["| variant | " + " | ".join(cells) + " | all |", "|---|" + "---:|" * (len(cells) + 1)]
    for variant in (variant["name"] for variant in report["variants"]):
        rates = [found[variant, cell] for cell in cells]
        good, episodes = (sum(rate[key] for rate in rates) for key in ("successes", "episodes"))
        row = [_cell(rate) for rate in rates]
        lines.append(f"| **{variant}** | " + " | ".join(row) + f" | {good}/{episodes} |")
    return "\n".join(lines) + "\n"


def differences(report: Mapping[str, Any]) -> str:
    """Each variant against the first one in each cell: difference in percentage points with its 95 % interval."""
    cells = {(cell["scenario"], cell["level"]): cell["label"] for cell in report["cells"]}
    baseline = next(variant["name"] for variant in report["variants"] if variant["is_baseline"])
    found = {
        (contrast["first"], contrast["cell"]["scenario"], contrast["cell"]["level"]): contrast
        for contrast in report["contrasts"]
        if contrast["second"] == baseline
    }
    lines = [f"| against {baseline} | " + " | ".join(cells.values()) + " |", "|---|" + "---:|" * len(cells)]
    for variant in (variant["name"] for variant in report["variants"] if variant["name"] != baseline):
        row = [_difference(found[variant, *cell]) if (variant, *cell) in found else "" for cell in cells]
        lines.append(f"| **{variant}** | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def _cell(rate: Mapping[str, Any]) -> str:
    seeds = " ".join(str(good) for good, _ in rate["by_seed"])
    return f"{rate['successes']}/{rate['episodes']} ({seeds})"


def _difference(contrast: Mapping[str, Any]) -> str:
    low, high = contrast["interval"]
    return f"{100 * contrast['difference']:+.0f} [{100 * low:+.0f}, {100 * high:+.0f}]"


def by_variant(findings: Sequence[Findings]) -> dict[str, list[Findings]]:
    """Policies of each variant in the order of their seeds; variants in the order of `VARIANTS`."""
    return {
        variant: sorted((x for x in findings if x.run.variant == variant), key=lambda x: x.run.seed)
        for variant in VARIANTS
        if any(x.run.variant == variant for x in findings)
    }


def draw(findings: Sequence[Findings], file: Path) -> None:
    """Share against reliance, and reliance against the loss under shift: a dot a policy, a colour a variant."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for variant, policies in by_variant(findings).items():
        colour, marker = LOOKS[variant]
        share = [policy.share("state") for policy in policies]
        reliance = [policy.value("reliance", "any", "executed") for policy in policies]
        shifted = [policy.metrics.get("shifted_l1", float("nan")) for policy in policies]
        style = {
            "color": colour,
            "marker": marker,
            "s": 120 if marker == "*" else 64,
            "edgecolors": "white",
            "linewidths": 0.8,
            "clip_on": False,  # 0 and 1 are answers, too
            "zorder": 3,
        }
        left.scatter(share, reliance, label=variant, **style)
        right.scatter(reliance, shifted, **style)
    left.set(
        xlabel="joint state's share of the decoder's cross-attention", ylabel="reliance on the joint state"
    )
    left.set(xlim=(0, None), ylim=(0, 1), title="Where it looks, and what it goes by")
    right.set(xlabel="reliance on the joint state (0: cameras alone)", ylabel="L1 where boxes have moved")
    right.set(xlim=(0, 1), ylim=(0, None), title="What it goes by, and its error under shift")
    for axes in (left, right):
        axes.grid(color="#e5e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(file, dpi=150)


COLOURS = (
    "#000000", "#0072b2", "#d55e00", "#e69f00", "#009e73", "#f0e442", "#56b4e9", "#cc79a7", "#7f3c8d", "#8c8c8c"
)  # fmt: skip
MARKERS = ("o", "s", "^", "v", "D", "p", "P", "X", "*", "<")
LOOKS = dict(zip(VARIANTS, zip(COLOURS, MARKERS, strict=True), strict=True))
"""A variant looks the same in every picture: Okabe and Ito's colours, which the colour-blind tell apart, and a shape
each for print."""
