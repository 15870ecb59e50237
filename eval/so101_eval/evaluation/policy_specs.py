"""Policies by name: what `--policies` says, checked and hashed, and what drives an attempt in its place.

    baseline=outputs/baseline            a checkpoint of a policy of LeRobot (`checkpoint/types.py`)
    baseline:2=outputs/baseline-seed2    the same variant of a study with another training seed
    blind=outputs/baseline@no-images     a control: the checkpoint, shown its mean picture in place of what there is
    deaf=outputs/baseline@no-state       a control: told its mean pose in place of where the arm is
    expert                               the scripted expert
    hold                                 stays where it starts
    replay                               repeats one demonstration whatever it sees
    mine=demo:recommended                one that comes with the package; `demo:recommended` alone has its own name
    other=actions.npy                    repeats that recording: an array (n, 6), joint targets at 30 ticks a second

A name is what the tables show, so built-in policies may have others too: `lazy=hold`. What is written into a run is a
`PolicySpec`; what drives in its place is made by `loaded_policies.load`.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from so101_eval.episode.episode import FPS
from so101_eval.episode.policy_notes import check_rate
from so101_eval.errors import ConfigError
from so101_eval.palletizing.scene.draw import DEMO_SEEDS
from so101_policy.checkpoint.backgrounds import background_files
from so101_policy.checkpoint.folder import TRAIN_CONFIG, file_in
from so101_policy.checkpoint.plain_json import read_json
from so101_policy.checkpoint.scaling import read_statistics
from so101_policy.dataset_check.numbers import MOST_JOINT
from so101_policy.errors import CheckpointError, first_line
from so101_policy.files.plain_data import parse_json
from so101_policy.files.typed_data import typed
from so101_policy.inference.any_policy import load_policy
from so101_policy.inference.loaded import LoadedPolicy
from so101_policy.registration.files import camera_of
from so101_policy.units import LikelyUnits, Units, likely_units
from so101_robot import demo
from so101_robot.commands import compose
from so101_robot.errors import ConfigError as RunError
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.config import CAMERAS
from so101_robot.preflight.findings import Level
from so101_robot.preflight.policy import FLAG, check_statistics

Kind = Literal["act", "expert", "hold", "replay"]
BUILT_IN: tuple[Kind, ...] = ("expert", "hold", "replay")
WITHOUT = {"no-state": "state", "no-images": "images"}
EPISODES = Path("meta") / "so101_episodes.jsonl"
"""In a dataset made by `so101-demos`: a line an episode, its seed among others."""
NUMBERS = "iuf"
"""NumPy's kinds of those that are numbers of a line: not complex ones, whose second half would be lost."""
REPLAYED_SEED = DEMO_SEEDS.start
"""The demonstration that `replay` repeats."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*(:[A-Za-z0-9_.+-]+)?")


@dataclass(frozen=True)
class PolicySpec:
    """A policy as it stands in a run."""

    name: str
    kind: Kind
    sha256: str
    """Of a checkpoint's weights or of a recording; for what is built in, of its name."""
    recipe_sha256: str
    """Of all that decides besides the weights: configuration and processors."""
    path: str | None = None
    """Of checkpoint or recording."""
    without: tuple[str, ...] = ()
    """What is hidden from it: state, images."""
    fps: float = FPS
    """Actions per second."""
    train_seed: int | None = None
    dataset: str | None = None
    """What it was trained on, as its checkpoint says."""
    cameras: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Camera -> (height, width) [px] that it sees through."""
    recorded: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """The same of the recordings, where its pictures are scaled from these."""
    units: str = Units.DEGREES
    """Of its joints."""
    task: str = ""
    """In words, as it is told."""

    @property
    def variant(self) -> str:
        """What it shares with its siblings of other training seeds."""
        return self.name.partition(":")[0]

    @property
    def identity(self) -> dict[str, Any]:
        """What must stay the same from one sitting to the next; paths may change."""
        units = {} if self.units == Units.DEGREES else {"units": self.units}  # runs of before know no others
        task = {"task": self.task} if self.task else {}
        return {
            "kind": self.kind,
            "sha256": self.sha256,
            "recipe_sha256": self.recipe_sha256,
            "without": list(self.without),
            "fps": self.fps,
            **units,
            **task,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "PolicySpec":
        """Back from `dataclasses.asdict`, by way of JSON. Raises ValueError."""
        return typed(PolicySpec, data)


# From the command line


def parse_policies(
    texts: Sequence[str], fps: float | None = None, use_degrees: bool | None = None, task: str = ""
) -> tuple[PolicySpec, ...]:
    """All of `--policies`.

    Args:
        texts: see above.
        fps: rate of checkpoints that do not say theirs; None: looked up, or refused.
        use_degrees: units of checkpoints that do not say theirs; None: degrees, unless statistics speak against it.
        task: in words, for policies that are told theirs.

    Raises:
        ConfigError: no policy, a name that is no name, or two of one name.
        CheckpointError: a checkpoint that cannot be used.
    """
    specs = tuple(parse_policy(text, fps, use_degrees, task) for text in texts)
    names = [spec.name for spec in specs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"--policies: {', '.join(twice)} is there twice; give each policy a name of its own"
        )
    if not specs:
        raise ConfigError(
            f"--policies: expected at least one, NAME=CHECKPOINT or one of {', '.join(BUILT_IN)}"
        )
    return specs


def parse_policy(
    text: str, fps: float | None = None, use_degrees: bool | None = None, task: str = ""
) -> PolicySpec:
    """One of `--policies`. Raises as `parse_policies`."""
    name, equals, value = text.partition("=")
    value = value if equals else name
    if not equals and value.startswith(demo.PREFIX):
        name = value.removeprefix(demo.PREFIX).partition("@")[0]
    elif not equals and value not in BUILT_IN:
        raise ConfigError(
            f"--policies {text}: a checkpoint needs a name, NAME=PATH; without are {', '.join(BUILT_IN)}"
        )
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--policies {text}: {name!r} is no name; expected letters, digits, and _ . + - (VARIANT:SEED)"
        )
    if value in BUILT_IN:
        return _built_in(name, value)
    path, hidden = value, ()
    if (parts := value.split("@"))[1:] and parts[-1].startswith("no-"):
        path, hidden = "@".join(parts[:-1]), tuple(parts[-1].split(","))
    if unknown := [word for word in hidden if word not in WITHOUT]:
        raise ConfigError(
            f"--policies {text}: @{unknown[0]} does not exist; possible are @{', @'.join(WITHOUT)}"
        )
    if not path or path in BUILT_IN or (hidden and path.endswith(".npy")):
        what = "a checkpoint to hide something from" if hidden else "a checkpoint"
        raise ConfigError(f"--policies {text}: expected {what}, NAME=PATH; {path or 'nothing'!r} is none")
    if path.endswith(".npy"):
        return _recording(name, Path(path).expanduser())
    if path.startswith(demo.PREFIX):
        path = str(_shipped(path.removeprefix(demo.PREFIX)))
    return _checkpoint(name, path, tuple(WITHOUT[word] for word in hidden), fps, use_degrees, task)


def _shipped(name: str) -> Path:
    """A checkpoint that comes with the package."""
    try:
        return demo.demo_policy(name)
    except RunError as problem:
        raise ConfigError(str(problem).replace("--policy.path=", "--policies ")) from problem


def _built_in(name: str, kind: Kind) -> PolicySpec:
    recipe = f"replay of demonstration {REPLAYED_SEED}" if kind == "replay" else kind
    return PolicySpec(name, kind, _sha256(recipe.encode()), _sha256(b""))


def _recording(name: str, path: Path) -> PolicySpec:
    read_recording(path)
    return PolicySpec(name, "replay", _sha256(path.read_bytes()), _sha256(b""), str(path.absolute()))


def _checkpoint(
    name: str, path: str, without: tuple[str, ...], fps: float | None, use_degrees: bool | None, task: str
) -> PolicySpec:
    policy = load_policy(path, task=task)
    units = policy.trained_on.units or compose.units_of(policy, use_degrees, "--use_degrees")
    try:
        rate = compose.rate_of(policy, fps, None, "--fps")
    except RunError as problem:
        raise ConfigError(str(problem)) from problem
    spec = PolicySpec(
        name,
        "act",
        policy.sha256,
        _recipe_sha256(policy.path),
        str(policy.path.absolute()),
        without,
        rate,
        _seed(policy.path),
        _dataset(policy.path),
        policy.cameras,
        policy.recorded,
        units or Units.DEGREES,
        task if policy.language else "",
    )
    check_rate(spec.fps)
    if misfits := [*_misfits(policy)] or [*_doubts(policy, units)]:
        raise ConfigError(f"the policy {name} ({policy.path}) does not fit the scene: {'; '.join(misfits)}")
    return spec


def _doubts(policy: LoadedPolicy, units: Units | None) -> Iterator[str]:
    """Statistics with which `so101-run` would not drive an arm."""
    for finding in check_statistics(read_statistics(policy.path), units):
        if finding.level is Level.STOP:
            yield finding.text.replace(FLAG, "--use_degrees")


def _misfits(policy: LoadedPolicy) -> Iterator[str]:
    config: Any = policy.policy.config
    sizes = {len(policy.joints)} | (
        {config.robot_state_feature.shape[0]} if config.robot_state_feature else set()
    )
    if sizes != {len(JOINTS)}:
        yield f"it has {' and '.join(map(str, sorted(sizes)))} joints, the arm has {len(JOINTS)}"
    if config.env_state_feature:
        yield "it wants an environment state, which a robot does not have"
    if missing := [name for name in policy.cameras if name not in CAMERAS]:
        yield (
            f"it sees through {', '.join(policy.cameras)}, the scene has {', '.join(CAMERAS)}; "
            f"{', '.join(missing)} is missing"
        )


def picture_size(specs: Sequence[PolicySpec], task: str, asked: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) [px] of the scene's cameras: as asked, else as recorded, else as the policies were trained. What
    was scaled for a training is scaled for that policy here.

    Raises:
        ConfigError: the policies were trained with different sizes, or with others than asked for.
    """
    taken = {
        (spec.name, camera): [spec.recorded.get(camera, size), size]
        for spec in specs
        for camera, size in spec.cameras.items()
    }
    possible = [asked] if asked else [*chain.from_iterable(taken.values()), (96, 96)]
    size = next((one for one in possible if all(one in sizes for sizes in taken.values())), possible[0])
    if wrong := {where: sizes[-1] for where, sizes in taken.items() if size not in sizes}:
        found = "; ".join(
            f"{name} was trained with {camera} of {w}x{h}" for (name, camera), (h, w) in wrong.items()
        )
        raise ConfigError(
            f"the cameras of {task} give pictures of {size[1]}x{size[0]} "
            f"({'as asked for' if asked else f'as {next(iter(taken))[0]} wants them'}); {found}. "
            "All policies of a run see the same pictures"
        )
    return size


# Where a checkpoint comes from


def training_seeds(spec: PolicySpec) -> set[int] | None:
    """Scenes that a policy was trained on; None where that is not known: a dataset that is not there, or not ours."""
    episodes = None if spec.dataset is None else Path(spec.dataset) / EPISODES
    if episodes is None or not episodes.is_file():
        return None
    seeds, number = set[int](), 0
    try:
        for line in episodes.read_text(encoding="utf-8").splitlines():
            number += 1
            seeds.add(typed(int, typed(dict[str, Any], parse_json(line)).get("seed"), "seed"))
    except ValueError as error:
        raise ConfigError(
            f"{episodes}, line {number}: the scenes that {spec.name} was trained on cannot be read: {error}"
        ) from error
    return seeds


def check_unseen(specs: Sequence[PolicySpec], seeds: range) -> list[str]:
    """Refuse to judge a policy on scenes that it was trained on. Returns the names that could not be checked.

    Raises:
        ConfigError: a scene is in the training set of a policy.
    """
    unknown: list[str] = []
    for spec in specs:
        trained = training_seeds(spec)
        if trained is None and spec.kind == "act":
            unknown.append(spec.name)
        if both := sorted((trained or set()) & set(seeds)):
            raise ConfigError(
                f"{spec.name} was trained on {len(both)} of these scenes ({spec.dataset}): seeds {_some(both)}; "
                f"asked for are {seeds.start} to {seeds.stop - 1}. Choose others with --first_seed"
            )
    return unknown


def check_backgrounds(specs: Sequence[PolicySpec]) -> None:
    """Raises ConfigError for a checkpoint by whose files no camera can be put back."""
    lacking = [spec for spec in specs if spec.kind == "act" and not background_files(Path(spec.path or ""))]
    if lacking:
        raise ConfigError(
            f"--camera_correction: {', '.join(spec.name for spec in lacking)} has no background of a camera that "
            f"stands; `so101-data background DATASET --output_dir={lacking[0].path}` makes them of its recordings"
        )


def _some(values: Sequence[int], most: int = 5) -> str:
    return ", ".join(map(str, values[:most])) + (" ..." if len(values) > most else "")


def _train_config(folder: Path) -> dict[str, Any]:
    """What LeRobot's training wrote beside the weights, nothing where it did not."""
    try:
        return read_json(file_in(folder, TRAIN_CONFIG))
    except CheckpointError:
        return {}


def _seed(folder: Path) -> int | None:
    seed = _train_config(folder).get("seed")
    return seed if isinstance(seed, int) else None


def _dataset(folder: Path) -> str | None:
    dataset = _train_config(folder).get("dataset")
    root = dataset.get("root") if isinstance(dataset, dict) else None
    return str(Path(root).absolute()) if isinstance(root, str) else None


def _recipe_sha256(folder: Path) -> str:
    """Of everything that is read of a checkpoint to act by it, the weights of the network aside."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        processor = path.name.startswith("policy_") and path.suffix in (".json", ".safetensors")
        if path.name == "config.json" or processor or camera_of(path.name) is not None:
            digest.update(f"{path.name} {_sha256(path.read_bytes())}\n".encode())
    return digest.hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_recording(path: Path) -> NDArray[np.float64]:
    """(n, 6) joint targets in degrees, the gripper in percent. Raises `ConfigError` for anything else."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ConfigError(f"{path} is no recording: it is not a file")
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.ndarray) or loaded.dtype.kind not in NUMBERS:
            raise ValueError(
                f"it has {getattr(loaded, 'dtype', 'several arrays')}, expected an array of numbers"
            )
        actions = np.asarray(loaded, np.float64)
    except (OSError, ValueError, EOFError, MemoryError) as error:  # an empty file, say
        raise ConfigError(f"{path} is no recording: {first_line(error)}") from error
    if actions.ndim != 2 or actions.shape[1] != len(JOINTS) or not len(actions):
        raise ConfigError(
            f"{path} is no recording: expected (n, {len(JOINTS)}) finite numbers, it is {actions.shape}"
        )
    bad = ~(np.abs(actions) <= MOST_JOINT)
    if bad.any():
        tick, joint = (int(index[0]) for index in np.nonzero(bad))
        raise ConfigError(
            f"{path} is no recording: tick {tick}, {JOINTS[joint]}: {actions[tick, joint]:g}; expected a finite number "
            f"from {-MOST_JOINT:g} to {MOST_JOINT:g}"
        )
    if likely_units(np.delete(actions, GRIPPER, axis=1)) is LikelyUnits.RADIANS:
        raise ConfigError(
            f"{path} looks like radians: no joint is further from 0 than {np.abs(actions).max():.3g}; "
            "expected degrees, and percent for the gripper"
        )
    return actions
