"""The types of policies that LeRobot has: what each needs, and what its files may ask for.

A list by hand, because LeRobot has none: which extra of it a type needs stands in its code alone, and which steps a
processor may have decides what a checkpoint of strangers can make it do (`steps.py`). A type that is not here is an
ACT or a plugin's, with the steps of an ACT.
"""

import math
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple, cast

from so101_policy.checkpoint.fields import features, modes, whole
from so101_policy.errors import shown
from so101_policy.files.plain_data import Plain

_TOKENS = "tokenizer_processor"
_RELATIVE, _ABSOLUTE = "relative_actions_processor", "absolute_actions_processor"
_REMOTE = (
    "LeRobot loads it with programs that it fetches from the hub (trust_remote_code), which so101 does not let a "
    "checkpoint ask for"
)
_OWN_SCALING = (
    "its processors scale joints in a way of their own, whose statistics so101 cannot look at before"
)


class PolicyType(NamedTuple):
    """What is known of a type."""

    extra: str = ""
    """Of LeRobot, as `pip install 'lerobot[EXTRA]'` takes it; empty: it needs none."""
    packages: tuple[str, ...] = ()
    """What the extra brings that is needed to play it."""
    before: tuple[str, ...] = ()
    """Registered names of steps that its preprocessor may have beside those of an ACT."""
    after: tuple[str, ...] = ()
    """The same of its postprocessor."""
    any_size: bool = False
    """It scales pictures itself, so the size in its configuration is not that of the cameras."""
    language: bool = False
    """It is told its task in words."""
    refused: str = ""
    """Why it is not played here; empty: it is."""

    @property
    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [package for package in self.packages if find_spec(package) is None]


_TRANSFORMERS = ("transformers",)


def _vla(
    extra: str, *before: str, after: tuple[str, ...] = (), packages: tuple[str, ...] = _TRANSFORMERS
) -> PolicyType:
    return PolicyType(extra, packages, before, after, any_size=True, language=True)


TYPES: Mapping[str, PolicyType] = {
    "act": PolicyType(),
    "diffusion": PolicyType("diffusion", ("diffusers",)),
    "vqbet": PolicyType(),
    "multi_task_dit": PolicyType("multi-task-dit", ("transformers", "diffusers"), (_TOKENS,), language=True),
    "smolvla": _vla("smolvla", "smolvla_new_line_processor", _TOKENS, packages=("transformers", "num2words")),
    "pi0": _vla("pi", "pi0_new_line_processor", _TOKENS, _RELATIVE, after=(_ABSOLUTE,)),
    "pi05": _vla("pi", "pi05_prepare_state_tokenizer_processor_step", _TOKENS, _RELATIVE, after=(_ABSOLUTE,)),
    "xvla": _vla(
        *("xvla", _TOKENS, "xvla_image_to_float", "xvla_imagenet_normalize", "xvla_add_domain_id"),
    ),
    "eo1": _vla("eo1", "eo1_conversation_template_processor", "eo1_qwen_processor"),
    "fastwam": _vla("fastwam", after=("fastwam_action_toggle_processor",)),
    "lingbot_va": _vla("lingbot-va"),
    "vla_jepa": _vla(
        "vla-jepa", after=("vla_jepa_clip_actions", "vla_jepa_pre_snap_gripper", "vla_jepa_binarize_gripper")
    ),
    "evo1": PolicyType("evo1", _TRANSFORMERS, refused=_OWN_SCALING),
    "molmoact2": PolicyType("molmoact2", _TRANSFORMERS, refused=_OWN_SCALING),
    "groot": PolicyType("groot", _TRANSFORMERS, refused=_REMOTE),
    "pi0_fast": PolicyType("pi", _TRANSFORMERS, refused=_REMOTE),
    "wall_x": PolicyType("wallx", _TRANSFORMERS, refused=_REMOTE),
    "tdmpc": PolicyType(refused="it plans anew for every action, so it has no chunks to be played"),
    "gaussian_actor": PolicyType(
        refused="it is one half of a reinforcement learner, and LeRobot gives it no chunks of actions"
    ),
}
"""LeRobot 0.6's, by the name in config.json."""

PLAIN = PolicyType()
"""An ACT's, and that of a plugin's type."""

MOST_OBSERVED = 64
"""Observations that a policy looks back on, the present one included."""
MOST = 10_000_000
"""No size in a configuration is larger."""
MOST_TEXT = 2_000


def type_of(kind: Plain) -> PolicyType:
    """What is known of a type by its name."""
    return TYPES.get(kind, PLAIN) if isinstance(kind, str) else PLAIN


def played() -> list[str]:
    """The types that so101-run plays, by name."""
    return [name for name, about in TYPES.items() if not about.refused]


def objections(fields: Mapping[str, Any]) -> list[str]:
    """What is wrong with the fields of a configuration that is not an ACT's; empty: nothing that can be seen without
    building it. What a field of this type may be is LeRobot's to say, when it reads it."""
    found = [text for name, value in fields.items() for text in _sane(name, value)]
    right, expected = whole(1, MOST_OBSERVED)
    if not right(observed := fields.get("n_obs_steps", 1)):
        found.append(f"n_obs_steps is {shown(observed)}, expected {expected}")
    for side in ("input_features", "output_features"):
        found += features(fields.get(side), side)
    found += modes(fields.get("normalization_mapping"), "normalization_mapping")
    if not found and "action" not in fields["output_features"]:
        found.append("has no output 'action'")
    if not found and (pose := fields.get("start_pose")) is not None:
        found.append(f"start_pose is {shown(pose)}, expected none of this type")
    return found


def setting_is_plain(value: Plain) -> bool:
    """A step's own setting: words, numbers, switches, and lists and names of them."""
    match value:
        case None | bool():
            return True
        case str():
            return len(value) <= MOST_TEXT and value.isprintable()
        case int() | float():
            return math.isfinite(value) and abs(value) <= MOST
        case list():
            return all(map(setting_is_plain, cast(list[Any], value)))
        case dict():
            return all(map(setting_is_plain, cast(dict[str, Any], value).values()))
        case _:
            return False


def _sane(name: str, value: Plain) -> Iterator[str]:
    if name not in ("input_features", "output_features") and not setting_is_plain(value):
        yield f"{shown(name)} is {shown(value)}, expected plain words and numbers up to {MOST}"
