"""Backgrounds as files: they come back as they were, and other files are refused with one message."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from checkpoints import untrained
from moved_pictures import TextureBench
from so101_policy.checkpoint.backgrounds import read_backgrounds
from so101_policy.checkpoint.reader import look_at
from so101_policy.errors import CheckpointError
from so101_policy.registration.background import Background
from so101_policy.registration.files import (
    MOST_PIXELS,
    REMEMBERED,
    TEXT,
    camera_of,
    name_of,
    read_background,
    read_remembered,
    remembered_path,
    write_background,
    write_painted,
)


@pytest.fixture(scope="module")
def background() -> Background:
    return TextureBench().background(8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    untrained(folder)
    return folder


def test_a_background_comes_back_as_it_was(background: Background, tmp_path: Path) -> None:
    path = tmp_path / "new" / name_of("front")
    write_background(path, background, "me/boxes")
    found = read_background(path)
    np.testing.assert_array_equal(found.image, background.image)
    np.testing.assert_array_equal(found.static, background.static)
    np.testing.assert_array_equal(found.seldom_hidden, background.seldom_hidden)
    assert background.static.sum() < background.seldom_hidden.sum() < background.static.size
    assert (found.sharpness, found.frames) == (background.sharpness, background.frames)
    assert camera_of(path.name) == "front"
    assert [camera_of(name) for name in ("front.png", "so101_background..png", "so101_background.a.jpg")] == [
        None
    ] * 3


def test_what_the_drift_check_remembers_is_read_too(background: Background, tmp_path: Path) -> None:
    path = remembered_path(tmp_path / "my.arm.json", "front")
    assert path.name == "my.arm.background.front.png"
    about = {"version": 1, "dataset": "me/boxes", "frames": 48, "sharpness": 0.1, "gamma": 2.2, "limits": {}}
    write_painted(path, background, REMEMBERED, about)
    np.testing.assert_array_equal(read_remembered(path).image, background.image)
    with pytest.raises(ValueError, match="KeyError"):
        read_background(path)


def damaged(path: Path, background: Background, how: str) -> None:
    """One file that is no background."""
    text = PngImagePlugin.PngInfo()
    opaque = np.dstack((background.image, np.where(background.static, 255, 0).astype(np.uint8)))
    told = '{"version": 1, "dataset": "", "frames": 8, "sharpness": 0.1}'
    match how:
        case "no picture":
            path.write_bytes(b"no picture")
        case "cut short":
            write_background(path, background, "")
            path.write_bytes(path.read_bytes()[:900])
        case "a JPEG":
            Image.fromarray(background.image).save(path, "JPEG")
        case "without opacity":
            text.add_text(TEXT, told)
            Image.fromarray(background.image).save(path, "PNG", pnginfo=text)
        case "nothing stays":
            text.add_text(TEXT, told)
            opaque[..., 3] = 0
            Image.fromarray(opaque).save(path, "PNG", pnginfo=text)
        case "large":
            text.add_text(TEXT, told)
            Image.new("RGBA", (MOST_PIXELS // 1000, 1001)).save(path, "PNG", pnginfo=text)
        case "of the future":
            text.add_text(TEXT, told.replace("1,", "2,", 1))
            Image.fromarray(opaque).save(path, "PNG", pnginfo=text)
        case "wrong text":
            text.add_text(TEXT, told.replace("0.1", '"soft"'))
            Image.fromarray(opaque).save(path, "PNG", pnginfo=text)
        case "a pipe":
            os.mkfifo(path)
        case _:
            raise AssertionError(how)


HOW = (
    *("no picture", "cut short", "a JPEG", "without opacity", "nothing stays", "large", "of the future"),
    *("wrong text", "a pipe"),
)


@pytest.mark.parametrize("how", HOW)
def test_another_file_is_refused_with_the_checkpoint(
    how: str, background: Background, checkpoint: Path
) -> None:
    path = checkpoint / name_of("front")
    try:
        damaged(path, background, how)
        with pytest.raises(CheckpointError) as raised:
            look_at(checkpoint)
        assert str(path) in str(raised.value)
    finally:
        path.unlink()


def test_a_checkpoint_has_the_backgrounds_that_lie_in_it(
    background: Background, checkpoint: Path, tmp_path: Path
) -> None:
    assert read_backgrounds(checkpoint) == {}
    path = checkpoint / name_of("front")
    try:
        write_background(path, background, "me/boxes")
        (found,) = read_backgrounds(checkpoint).items()
        assert found[0] == "front"
        elsewhere = path.rename(tmp_path / "elsewhere.png")
        path.symlink_to(elsewhere)
        with pytest.raises(CheckpointError, match="is a link out of the checkpoint's folder"):
            look_at(checkpoint)
    finally:
        path.unlink()
