"""A study before its first trial: canonical, sealed, and refused where it was touched."""

import hashlib
import itertools
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from real_studies import locked, small_study, spec
from so101_eval.errors import ConfigError, RecordError
from so101_eval.real_study.design.faults import INTERRUPTED, VOIDING, void_reason
from so101_eval.real_study.design.lock import lock, read_locked, writing
from so101_eval.real_study.design.sealing import (
    SEALED,
    draw_schedule,
    keys_folder,
    order_bits,
    places,
    unseal,
)
from so101_eval.real_study.design.study import STUDY, read_study
from so101_eval.real_study.events.journal import EVENTS
from so101_eval.real_study.session.sitting import refuse_what_is_over


def test_the_locked_file_is_canonical_and_its_hash_is_the_study(tmp_path: Path):
    study = locked(tmp_path / "s")
    data = (tmp_path / "s" / STUDY).read_bytes()
    assert hashlib.sha256(data).hexdigest() == study.sha256
    assert read_study(tmp_path / "s") == study


def test_a_comment_does_not_survive_the_lock(tmp_path: Path):
    study = locked(tmp_path / "a")
    edited = tmp_path / "b"
    edited.mkdir()
    (edited / STUDY).write_text("# mine\n" + study.to_yaml())
    assert lock(edited).sha256 == study.sha256


def test_a_study_that_was_edited_after_the_lock_is_refused(tmp_path: Path):
    folder = tmp_path / "s"
    study = locked(folder)
    (folder / STUDY).write_text(replace(study, blocks=4).to_yaml())
    with pytest.raises(ConfigError, match="edited after the study was locked"):
        read_locked(folder)
    with pytest.raises(ConfigError, match="edited after"), writing(folder):
        pass


def test_two_sessions_at_once_are_refused(tmp_path: Path):
    locked(tmp_path / "s")
    with (
        writing(tmp_path / "s"),
        pytest.raises(ConfigError, match="one session at a time"),
        writing(tmp_path / "s"),
    ):
        pass
    with writing(tmp_path / "s"):  # and it was only for that long
        pass


def test_a_study_is_locked_once(tmp_path: Path):
    locked(tmp_path / "s")
    with pytest.raises(ConfigError, match="locked already"):
        lock(tmp_path / "s")


def test_an_unblinded_study_takes_no_trial(tmp_path: Path):
    folder = tmp_path / "s"
    locked(folder)
    with writing(folder) as (_, journal):
        journal.append("unblinded", {})
    with pytest.raises(ConfigError, match="was unblinded"):
        refuse_what_is_over(folder, read_locked(folder)[1])


def test_the_sealed_schedule_comes_back_and_nothing_of_it_is_in_the_folder(tmp_path: Path):
    folder = tmp_path / "s"
    study = locked(folder)
    schedule = unseal(folder, study)
    assert len(schedule.orders) == places(study)
    text = b"".join(path.read_bytes() for path in folder.iterdir() if path.name != STUDY)
    assert b"secret-name" not in text
    assert str(list(schedule.orders[0])).replace(" ", "").encode() not in text
    assert not keys_folder().is_relative_to(folder)


def test_without_the_secret_key_nothing_opens(tmp_path: Path):
    study = locked(tmp_path / "s")
    for path in keys_folder().glob("*.key"):
        path.unlink()
    with pytest.raises(ConfigError, match="secret key of this study is not on this machine"):
        unseal(tmp_path / "s", study)


def test_a_changed_box_does_not_open(tmp_path: Path):
    study = locked(tmp_path / "s")
    sealed = bytearray((tmp_path / "s" / SEALED).read_bytes())
    sealed[-1] ^= 1
    (tmp_path / "s" / SEALED).write_bytes(sealed)
    with pytest.raises(RecordError, match="was changed"):
        unseal(tmp_path / "s", study)


def test_sealed_boxes_have_one_length_whatever_the_order(tmp_path: Path):
    sizes: set[int] = set()
    for name in "abcd":
        locked(tmp_path / name)
        sizes.add((tmp_path / name / SEALED).stat().st_size)
    assert len(sizes) == 1


def test_every_order_is_as_likely_and_blocks_do_not_depend_on_each_other():
    study = small_study(blocks=1000, policies=3)
    orders = draw_schedule(study).orders
    counts = Counter(orders)
    assert len(counts) == math.factorial(3)
    n = len(orders)
    entropy = -sum(count / n * math.log2(count / n) for count in counts.values())
    assert entropy > order_bits(3) - 0.02
    follows = Counter(itertools.pairwise(orders))
    expected = (n - 1) / 36
    assert (
        sum((follows[pair] - expected) ** 2 / expected for pair in follows) + expected * (36 - len(follows))
        < 80
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"policies": (spec("a"),)}, "expected 2 to 6"),
        ({"policies": (spec("a"), spec("a"))}, "different names"),
        ({"task": "stack"}, "there is no task"),
        ({"cells": (("light-intensity", 2),)}, "nobody can lay out by hand"),
        ({"blocks": 0}, "expected 1 to"),
        ({"difference": 0.0}, "difference 0"),
        ({"start_pose": (0.0,)}, "start_pose"),
        ({"voids": {"sneeze": "cable"}}, "no fault 'sneeze'"),
        ({"void_reasons": ("did not like it",)}, "did not like it"),
        ({"first_seed": 999_999}, "not for eval"),
    ],
)
def test_a_study_that_cannot_be_is_refused(changes: dict[str, object], words: str):
    with pytest.raises(ConfigError, match=words):
        replace(small_study(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["[]", "policies: 3", "{", "schema: 2\n"])
def test_a_file_that_is_no_study_names_itself(tmp_path: Path, text: str):
    (tmp_path / STUDY).write_text(text)
    with pytest.raises(ConfigError, match=r"study\.yaml"):
        read_study(tmp_path)


def test_faults_of_the_machine_void_and_those_of_the_policy_count():
    assert void_reason(VOIDING, "port gone", "x") == "cable"
    assert void_reason(VOIDING, "camera frozen", "x") == "camera"
    for fault in ("overload", "voltage", "servo rebooted", "too hot", "policy raises", "guard stops"):
        assert void_reason(VOIDING, fault, "x") is None
    assert void_reason(VOIDING, None, "disk full") == INTERRUPTED
    assert void_reason(VOIDING, None, None) is None
    assert void_reason(VOIDING, None, None, ("warm", "bus silent")) == "cable"
    assert void_reason(VOIDING, "overload", "x", ("bus silent",)) is None


def test_a_start_is_the_same_scene_as_in_the_simulation():
    study = small_study(practice=2)
    assert study.reset(1).seed == study.first_seed + 1
    seeds = [study.start(block).seed for block in (0, 1, 2, -1, -2)]
    assert len(set(seeds)) == 5, "practice has seeds of its own"


def test_nothing_is_locked_yet(tmp_path: Path):
    with pytest.raises(ConfigError, match="is no study"):
        read_locked(tmp_path)
    (tmp_path / STUDY).write_text(small_study().to_yaml())
    with pytest.raises(ConfigError, match="not locked yet"):
        read_locked(tmp_path)
    assert not (tmp_path / EVENTS).exists()
