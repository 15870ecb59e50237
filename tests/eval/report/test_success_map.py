"""The map of success over where a box lay: positions by a second way, shares counted by hand, and the picture."""

import math
import re
from typing import Any

import pytest

import report_records as made
from so101_eval.palletizing.scene.draw import draw
from so101_eval.palletizing.scene.tasks import PAN_AXIS_M, SMALL_PICK_AREA
from so101_eval.report import report_data
from so101_eval.report.page import render
from so101_eval.statistics import wilson

TASK, LEVELS = "palletize-1-small", (1, 3)


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    cells = {("nominal", 0): 0.0} | {("box-everywhere", level): 0.5 for level in LEVELS}
    return report_data(made.made_up({"baseline": 0.0, "ours": 1.5}, 30, (0, 1), cells, task=TASK))


def test_every_box_is_where_its_scene_laid_it(data: dict[str, Any]):
    assert [found["level"] for found in data["maps"]] == list(LEVELS)
    lay = {}
    for seed in range(1000, 1030):
        box = draw(TASK, "box-everywhere", 3, seed).boxes[0]
        lay[round(1000 * box.x_m, 1), round(1000 * box.y_m, 1)] = box
    for variant in data["maps"][1]["variants"]:
        assert len(variant["points"]) == 60  # two training seeds
        assert {(x, y) for x, y, _, _ in variant["points"]} == set(lay)
        for x, y, beyond, _ in variant["points"]:
            radius = math.hypot(x / 1000 - PAN_AXIS_M[0], y / 1000 - PAN_AXIS_M[1])
            assert (beyond > 0) == (SMALL_PICK_AREA.beyond_m(lay[x, y].x_m, lay[x, y].y_m) > 0)
            assert radius > 0.1


def test_boxes_are_counted_by_how_far_out_they_lay(data: dict[str, Any]):
    for found in data["maps"]:
        for variant in found["variants"]:
            inside = [good for *_, beyond, good in variant["points"] if beyond <= 0]
            far = [good for *_, beyond, good in variant["points"] if 20 < beyond <= 30]
            bands = {band["label"]: band for band in variant["bands"]}
            assert bands["inside"]["good"] == sum(inside)
            assert bands["inside"]["boxes"] == len(inside)
            assert bands["inside"]["interval"] == pytest.approx(list(wilson(sum(inside), len(inside))))
            assert bands.get("20 to 30 mm outside", {"boxes": 0})["boxes"] == len(far)
            assert sum(band["boxes"] for band in variant["bands"]) == 60
    assert any("outside" in band["label"] for band in data["maps"][1]["variants"][0]["bands"])


def test_the_picture_shows_each_of_them(data: dict[str, Any]):
    page = render(data)
    section = page[page.index('<section id="positions">') :]
    section = section[: section.index("</section>")]
    for variant in data["maps"][1]["variants"]:
        assert f"Where boxes lay that {variant['name']} placed" in section
        [inside] = [band for band in variant["bands"] if band["label"] == "inside"]
        assert f"inside {inside['good']} of {inside['boxes']} placed" in re.sub(r"<[^>]+>", "", section)


def test_a_run_without_that_scenario_has_no_map():
    data = report_data(made.made_up({"baseline": 0.0, "ours": 1.5}, 6, task=TASK))
    assert data["maps"] == []
    assert '<section id="positions">' not in render(data)
