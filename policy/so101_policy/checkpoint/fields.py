"""The fields of a checkpoint's configuration: kinds, sizes and ranges, asked before anything is built from them.

A field that is missing has a default, and the default may be another number than the policy was trained with: another
number of attention heads fits the same weights and acts differently. LeRobot has always written all of them, so all
that decide about an action are asked for.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard, cast

from so101_policy.errors import shown
from so101_policy.files.plain_data import Plain

MOST_ACTIONS, MOST_WIDTH, MOST_LAYERS, MOST_JOINTS = 10_000, 16_384, 64, 256
"""Far beyond any policy that was ever trained for an arm."""
LEAST_PX, MOST_PX = 8, 8192
MOST_TURN = 360.0
"""No joint stands further from its middle [deg or percent]."""
MOST_FPS = 1000.0
MOST_NAMES = 64
MOST_NAME = 200
"""Characters of a feature's name."""

FEATURE_TYPES = ("STATE", "VISUAL", "ENV", "ACTION", "REWARD", "LANGUAGE")
MODES = ("MIN_MAX", "MEAN_STD", "IDENTITY", "QUANTILES", "QUANTILE10")
_MODE = f"one of {', '.join(MODES)} for one of {', '.join(FEATURE_TYPES)}"
ACTIVATIONS = ("relu", "gelu", "glu")

type Rule = tuple[Callable[[Plain], bool], str]
"""Whether a value is right, and what is expected, in words."""


def whole(least: int, most: int, *, null: bool = False) -> Rule:
    """From `least` to `most`, and None where `null` says so."""

    def right(value: Plain) -> bool:
        if value is None:
            return null
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return right, f"a whole number from {least} to {most}" + (" or null" if null else "")


def number(least: float, most: float, *, null: bool = False) -> Rule:
    """As `whole`, of finite numbers."""

    def right(value: Plain) -> bool:
        return (null and value is None) or (is_number(value) and least <= value <= most)

    return right, f"a number from {least:g} to {most:g}" + (" or null" if null else "")


def _one_of(*possible: str) -> Rule:
    return lambda value: isinstance(value, str) and value in possible, f"one of {', '.join(possible)}"


_YES_OR_NO: Rule = (lambda value: isinstance(value, bool), "true or false")
_SWITCH: Rule = (lambda value: isinstance(value, bool) or value in (0, 1), "true or false")
_TEXT: Rule = (lambda value: isinstance(value, str) and value.isprintable(), "a name")

NEEDED: Mapping[str, Rule] = {
    "chunk_size": whole(1, MOST_ACTIONS),
    "n_action_steps": whole(1, MOST_ACTIONS),
    "vision_backbone": _TEXT,
    "replace_final_stride_with_dilation": _SWITCH,
    "pre_norm": _YES_OR_NO,
    "dim_model": whole(4, MOST_WIDTH),
    "n_heads": whole(1, MOST_WIDTH),
    "dim_feedforward": whole(1, 4 * MOST_WIDTH),
    "feedforward_activation": _one_of(*ACTIVATIONS),
    "n_encoder_layers": whole(1, MOST_LAYERS),
    "n_decoder_layers": whole(1, MOST_LAYERS),
    "use_vae": _YES_OR_NO,
    "latent_dim": whole(1, MOST_WIDTH),
    "n_vae_encoder_layers": whole(1, MOST_LAYERS),
    "temporal_ensemble_coeff": number(-100, 100, null=True),
}
"""Fields that decide about the actions."""

OPTIONAL: Mapping[str, Rule] = {
    "n_obs_steps": whole(1, 1),
    "dropout": number(0, 1),
    "kl_weight": number(0, 1e6),
    "optimizer_lr": number(0, 1e3),
    "optimizer_weight_decay": number(0, 1e3),
    "optimizer_lr_backbone": number(0, 1e3),
    "use_amp": _YES_OR_NO,
    "use_peft": _YES_OR_NO,
    "fused": _YES_OR_NO,
    "fps": number(0.1, MOST_FPS, null=True),
}
"""Fields that have a default that does no harm."""


OURS = "regularized_act"
NEEDED_OF_OURS: Mapping[str, Rule] = {
    "isolation": _YES_OR_NO,
    "state_dropout": number(0, 1),
    "camera_dropout": number(0, 1),
}
"""Fields of our regularizer that decide about the actions of a trained policy, too."""


def is_number(value: Plain) -> TypeGuard[float]:
    """A finite number, and not true or false."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def objections(fields: Mapping[str, Any]) -> list[str]:
    """What is wrong with the fields of an ACT's configuration, each with what is expected; empty: nothing."""
    if old := {"input_shapes", "output_shapes", "input_normalization_modes"} & fields.keys():
        return [
            f"{', '.join(sorted(old))} are of LeRobot before 2025; train it again, or convert it with that LeRobot"
        ]
    found = [f"{name} is missing" for name in NEEDED if name not in fields]
    found += _values(fields)
    if fields.get("type") == OURS:
        found += _regularizer(fields.get("regularizer"))
    found += features(fields.get("input_features"), "input_features")
    found += features(fields.get("output_features"), "output_features")
    found += modes(fields.get("normalization_mapping"), "normalization_mapping")
    return found or list(_together(fields))


def objections_to_settings(fields: Mapping[str, Any]) -> list[str]:
    """The same of a policy that is to be trained: it has no inputs yet."""
    return list(_values(fields)) or list(_sizes(fields))


def _values(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, (right, expected) in {**NEEDED, **OPTIONAL}.items():
        if name in fields and not right(fields[name]):
            yield f"{name} is {shown(fields[name])}, expected {expected}"


def _regularizer(value: Plain) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"regularizer is {shown(value)}, expected its settings" if value else "regularizer is missing"
        return
    for name, (right, expected) in NEEDED_OF_OURS.items():
        if not right(setting := cast(dict[str, Any], value).get(name)):
            yield f"regularizer.{name} is {shown(setting)}, expected {expected}"


def features(value: Plain, name: str) -> list[str]:
    """Objections to a mapping of features: type and shape of each."""
    if not isinstance(value, dict) or len(cast(dict[str, Any], value)) > MOST_NAMES:
        return [f"{name} is {shown(value)}, expected names with a type and a shape each"]
    return [
        text
        for key, feature in cast(dict[str, Any], value).items()
        for text in _feature(f"{name}.{key}", feature)
    ]


def modes(value: Plain, name: str) -> list[str]:
    """Objections to what says how a kind of feature is scaled."""
    if not isinstance(value, dict):
        return [
            f"{name} is {shown(value)}, expected a way of scaling for each of {', '.join(FEATURE_TYPES[:4])}"
        ]
    return [
        f"{name}.{shown(kind)} is {shown(mode)}, expected {_MODE}"
        for kind, mode in cast(dict[str, Any], value).items()
        if kind not in FEATURE_TYPES or not isinstance(mode, str) or mode not in MODES
    ]


def _feature(name: str, feature: Plain) -> Iterator[str]:
    if len(name) > MOST_NAME or not name.isprintable():
        yield f"{shown(name)} is not a name of a feature"
        return
    if not isinstance(feature, dict) or cast(dict[str, Any], feature).keys() != {"type", "shape"}:
        yield f"{name} is {shown(feature)}, expected a type and a shape"
        return
    kind, shape = cast(dict[str, Any], feature)["type"], cast(dict[str, Any], feature)["shape"]
    if not isinstance(kind, str) or kind not in FEATURE_TYPES:
        yield f"the type of {name} is {shown(kind)}, expected one of {', '.join(FEATURE_TYPES)}"
        return
    sizes = cast(list[Any], shape) if isinstance(shape, list) else []
    are_whole = bool(sizes) and all(isinstance(size, int) and not isinstance(size, bool) for size in sizes)
    if kind == "VISUAL":
        right = are_whole and len(sizes) == 3 and sizes[0] == 3
        if not (right and all(LEAST_PX <= size <= MOST_PX for size in sizes[1:])):
            yield f"the shape of {name} is {shown(shape)}, expected [3, height, width] in pixels"
    elif kind in ("STATE", "ACTION", "ENV") and not (
        are_whole and len(sizes) == 1 and 1 <= sizes[0] <= MOST_JOINTS
    ):
        yield f"the shape of {name} is {shown(shape)}, expected one number from 1 to {MOST_JOINTS}"


def _sizes(fields: Mapping[str, Any]) -> Iterator[str]:
    width, heads, chunk, steps = (fields[n] for n in ("dim_model", "n_heads", "chunk_size", "n_action_steps"))
    if width % heads or width % 4:
        yield f"dim_model is {width} and n_heads {heads}, expected a width that 4 and the number of heads divide"
    if steps > chunk:
        yield f"n_action_steps is {steps}, expected at most the chunk_size, {chunk}"


def _together(fields: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong between fields that are right one by one."""
    yield from _sizes(fields)
    kinds = {"input_features": ("STATE", "VISUAL", "ENV"), "output_features": ("ACTION",)}
    for side, possible in kinds.items():
        for name, feature in fields[side].items():
            if feature["type"] not in possible:
                yield f"{side}.{name} is of type {feature['type']}, expected {' or '.join(possible)}"
    if "action" not in fields["output_features"]:
        yield "has no output 'action'"
        return
    if (pose := fields.get("start_pose")) is None:
        return
    joints = fields["output_features"]["action"]["shape"][0]
    if not (
        isinstance(pose, list)
        and len(cast(list[Any], pose)) == joints
        and all(map(_is_turn, cast(list[Any], pose)))
    ):
        yield f"start_pose is {shown(pose)}, expected {joints} numbers from {-MOST_TURN:g} to {MOST_TURN:g}"


def _is_turn(value: Plain) -> bool:
    return is_number(value) and abs(value) <= MOST_TURN
