"""Whose folder it is: nobody's yet, that of the same command before, complete, or somebody else's."""

import dataclasses
import fcntl
import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from so101_eval.demos.settings import Settings
from so101_eval.errors import ConfigError
from so101_policy.errors import shown
from so101_policy.files.plain_data import parse_json
from so101_policy.files.whole_files import replacing

STAGING = ".so101-demos"
"""In the dataset's folder, while episodes are being played."""
SETTINGS = "so101_demos.json"
"""In the staging folder, then in the dataset's `meta`: what was asked for."""


def prepare(settings: Settings, out: Path) -> bool:
    """Make or find the staging folder; False if the dataset is complete. Raises `ConfigError` for another's folder."""
    staging = out / STAGING
    if (out / "meta" / SETTINGS).is_file():
        _compare(settings, out, out / "meta" / SETTINGS)
        shutil.rmtree(staging, ignore_errors=True)
        return False
    if (staging / SETTINGS).is_file():
        _compare(settings, out, staging / SETTINGS)
        return True
    others = {path.name for path in out.iterdir()} if out.is_dir() else set[str]()
    if (out.exists() and not out.is_dir()) or others - {STAGING}:
        raise ConfigError(
            f"{out} exists and was not made by so101-demos; choose another --output_dir, or remove it"
        )
    staging.mkdir(parents=True, exist_ok=True)
    with replacing(staging / SETTINGS) as partial:
        write_settings(partial, settings)
    return True


def write_settings(path: Path, settings: Settings) -> None:
    """As JSON."""
    path.write_text(json.dumps(dataclasses.asdict(settings)))


def _compare(settings: Settings, out: Path, stored: Path) -> None:
    try:
        theirs = parse_json(stored.read_text(encoding="utf-8"))
        if not isinstance(theirs, dict):
            raise ValueError("no settings")
    except ValueError as error:
        raise ConfigError(
            f"{stored} cannot be read ({error}); choose another --output_dir, or remove {out}"
        ) from error
    # what a version before did not know was at its default
    theirs = {field.name: field.default for field in dataclasses.fields(Settings)} | theirs
    ours = dataclasses.asdict(settings)
    differing = [
        f"--{name.replace('_', '-')} {shown(theirs.get(name))} (now {value})"
        for name, value in ours.items()
        if theirs.get(name) != value
    ]
    if differing:
        raise ConfigError(
            f"{out} was begun with {', '.join(differing)}; choose another --output_dir, or ask for the same to go on"
        )


@contextmanager
def lock(out: Path) -> Generator[None]:
    """Raises `ConfigError` if another process works here. The lock goes with the process."""
    with (out / STAGING / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another so101-demos is at work in {out}") from error
        yield
