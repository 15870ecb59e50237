"""The same actions as LeRobot's forward, in a fraction of the time; verified on the first observation, or not used.

    engine = make_engine("auto", policy, normalise)      # None for "plain"
    engine(observation, plain)                           # `PolicyOutputs`; `plain`: LeRobot's forward, if needed

Three backends run one graph (`graph.py`): `torch` everywhere; `onnx` (ONNX Runtime) and `openvino` on a processor,
where one of them is the fastest. All give the attention shares of `attention/shares.py`, computed by that module from
the very weights that made the actions.

An engine is verified before it is used. Its first answer is compared with LeRobot's own on the same observation; only
if all actions agree to `ACTION_TOLERANCE` and all shares to `SHARE_TOLERANCE` is it used, from that answer on. Else
the plain path is taken for good, and the log says why. So a wrong engine costs time, never a wrong action. (With bf16
what is tolerated is wider: `BF16`, and in degrees `precision.BOUND`.)

Shapes: P joints, H height, W width, T chunk, A action, C channels.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from lerobot.policies.act.modeling_act import ACTPolicy
from torch import Tensor

from so101_policy.attention.maps import Grids, Maps, maps_of
from so101_policy.attention.shares import AttentionShares, TokenLayout, shares_of
from so101_policy.command_line.extras import ONNX, OPENVINO, Extra, MissingPackageError
from so101_policy.inference.backend import PRECISIONS, Backend, Precision, TorchBackend
from so101_policy.inference.choice import fastest
from so101_policy.inference.graph import ActGraph, EngineError, Scaling, check_model

logger = logging.getLogger(__name__)

Normalise = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""LeRobot's preprocessor, by the keys of the policy's inputs on both sides: raw, one sample -> normalised, a batch."""

ENGINES = ("auto", "torch", "onnx", "openvino", "plain")
"""`plain` is LeRobot's own forward. `auto`: the fastest on this machine, by measurement (`choice.py`)."""

RUNTIMES: Mapping[str, Extra] = {"openvino": OPENVINO, "onnx": ONNX}
"""Engines that need packages of their own, and run on a processor only. Where nothing is measured, the first is
taken."""

ACTION_TOLERANCE = 1e-5
"""In normalised units (times the largest action, where that is above 1). Rounding gives 0.5e-6 to 2e-6."""

SHARE_TOLERANCE = 1e-4
"""Of shares and entropy, in 0..1. Rounding gives 1e-7 to 1e-6; a dashboard shows 1e-3."""


class Tolerance(NamedTuple):
    """What an engine may be off LeRobot's forward."""

    actions: float
    shares: float


F32 = Tolerance(ACTION_TOLERANCE, SHARE_TOLERANCE)
BF16 = Tolerance(0.1, 0.05)
"""Measured: 0.01 of a standard deviation. This is only the net below `precision.check_bf16`, which is in degrees."""


class PolicyInputs(NamedTuple):
    """One moment, by the keys of the policy's inputs."""

    vectors: dict[str, Tensor]
    """(P,) raw, in the robot's units."""
    images: dict[str, Tensor]
    """(H, W, 3) uint8 RGB."""


class PolicyOutputs(NamedTuple):
    """What a forward pass gave."""

    actions_TA: Tensor
    """Normalised."""
    shares: AttentionShares | None
    maps: Maps | None = None
    """Where in each picture, on request."""


class Verification(NamedTuple):
    """How far an engine was from LeRobot's forward, on one observation."""

    action_difference: float
    """The largest, relative to the largest action where that is above 1; NaN where either side is."""
    share_difference: float
    """The largest of all shares, entropy and cells of maps included."""

    def within(self, tolerance: Tolerance) -> bool:
        """False with NaN too."""
        return self.action_difference <= tolerance.actions and self.share_difference <= tolerance.shares


class Engine:
    """A backend that is verified on its first observation, then used or not. `make_engine` makes one; one thread at a
    time calls it."""

    def __init__(
        self,
        backend: Backend,
        inputs: Sequence[str],
        layout: TokenLayout,
        normalise: Normalise,
        per_head: bool,
        grids: Grids | None = None,
        tolerance: Tolerance = F32,
    ):
        """`grids`: of the cameras' tokens, if maps are wanted."""
        self.name = backend.name
        """Of the backend; "plain" where it failed its verification."""
        self.verification: Verification | None = None
        """None before the first observation, and where the backend raised there."""
        self._backend: Backend | None = backend
        self._inputs, self._layout = tuple(inputs), layout
        self._normalise, self._per_head, self._grids = normalise, per_head, grids
        self._tolerance = tolerance

    def __call__(self, observation: PolicyInputs, plain: Callable[[], PolicyOutputs]) -> PolicyOutputs:
        """The backend's answer, or that of `plain`, which is called for the first observation, and always after a
        failed verification."""
        if self._backend is None:
            return plain()
        if self.verification is None:
            return self._verify_first(observation, plain)
        return self._infer(self._backend, observation)

    def about(self) -> dict[str, Any]:
        """Plain data for a run's description: what runs, and how far it was from LeRobot's forward."""
        return {"engine": self.name} | (self.verification._asdict() if self.verification else {})

    def _verify_first(self, observation: PolicyInputs, plain: Callable[[], PolicyOutputs]) -> PolicyOutputs:
        assert self._backend is not None
        with torch.backends.cudnn.flags(
            enabled=True, allow_tf32=False
        ):  # else either side is 1e-3 off the truth
            expected = plain()
            try:
                inferred = self._infer(self._backend, observation)
            except (EngineError, RuntimeError) as error:
                return self._fall_back(f"it failed ({error})", expected)
        self.verification = _compare(inferred, expected)
        found = "actions differ by {:.1e}, attention shares by {:.1e}".format(*self.verification)
        if not self.verification.within(self._tolerance):
            tolerated = "allowed are {:.0e} and {:.0e}".format(*self._tolerance)
            return self._fall_back(f"{found} from LeRobot's; {tolerated}", expected)
        logger.info("engine %s: verified on the first observation, %s", self.name, found)
        return inferred

    def _fall_back(self, reason: str, expected: PolicyOutputs) -> PolicyOutputs:
        logger.warning(
            "engine %s is not used: on the first observation %s. LeRobot's own forward is used instead",
            *(self.name, reason),
        )
        self.name, self._backend = "plain", None
        return expected

    def _infer(self, backend: Backend, observation: PolicyInputs) -> PolicyOutputs:
        with torch.inference_mode():
            seen = {key: x for key, x in observation.vectors.items() if key in self._inputs}
            # LeRobot's own, because it costs little: a large mean over a small spread is sensitive to rounding
            normalised = self._normalise(seen) if seen else {}
            tensors = {key: normalised[key][0].cpu() for key in seen} | observation.images
            actions_TA, *weights_hTS = backend([tensors[key] for key in self._inputs])
            weights = [x_hTS[None] for x_hTS in weights_hTS]
            shares = shares_of(weights, self._layout, per_head=self._per_head)
            maps = None if self._grids is None else maps_of(weights, self._layout, self._grids)
            return PolicyOutputs(actions_TA, shares, maps)


def check_engine(name: str, precision: str = "f32") -> Precision:
    """Raises EngineError where there is no such engine, or none of that precision. Returns the precision."""
    if name not in ENGINES:
        raise EngineError(f"there is no engine {name!r}; possible: {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise EngineError(f"there is no precision {precision!r}; possible: {', '.join(PRECISIONS)}")
    if precision == "f32":
        return "f32"
    if name not in ("auto", "openvino"):
        raise EngineError(f"engine {name} computes in f32; bf16 is of engine openvino alone")
    return "bf16"


def installed_engine() -> str:
    """The engine for results that must repeat to the last bit: the first of `RUNTIMES` that is installed, else torch.
    It depends on what is installed and on nothing else; `auto` depends on a measurement."""
    return next((name for name, extra in RUNTIMES.items() if not extra.missing), "torch")


def check_installed(name: str) -> None:
    """Raises EngineError where the packages of an engine are missing."""
    if name in RUNTIMES and (missing := RUNTIMES[name].missing):
        raise EngineError(_needs(name, RUNTIMES[name].complaint(missing)))


def make_engine(
    name: str,
    policy: ACTPolicy,
    normalise: Normalise,
    *,
    per_head: bool = False,
    maps: bool = False,
    precision: str = "f32",
) -> Engine | None:
    """An engine for a LeRobot `ACTPolicy`, with its weights as they are now; None for the plain path.

    Args:
        name: one of `ENGINES`. With "auto" nothing is an error: what cannot be had is left out, with a word in the log.
        normalise: with the dataset's statistics.
        per_head: shares of every head too.
        maps: attention maps too.
        precision: one of `PRECISIONS`; bf16 is an error where it cannot be had.

    Raises:
        EngineError: there is no such engine, it cannot run this model or on its device, or a package is missing.
    """
    checked = check_engine(name, precision)
    if name == "plain":
        return None
    if checked == "bf16":
        name = "openvino"
    try:
        check_model(policy.model)
        with torch.no_grad():
            graph = ActGraph(policy.model, scalings_of(policy, normalise))
    except EngineError as error:
        if name != "auto":
            raise
        logger.warning("no engine is used: %s", error)
        return None
    if name == "auto":
        device = torch.device(policy.config.device or "cpu")
        candidates = {each: partial(_backend, each, graph, checked) for each in _candidates(device)}
        backend = fastest(graph, candidates, ACTION_TOLERANCE)
    else:
        backend = _backend(name, graph, checked)
    if backend is None:
        return None
    tolerance = BF16 if checked == "bf16" else F32
    grids = graph.grids if maps else None
    return Engine(backend, graph.inputs, graph.layout, normalise, per_head, grids, tolerance)


def scalings_of(policy: ACTPolicy, normalise: Normalise) -> dict[str, Scaling]:
    """How LeRobot's preprocessor normalises each camera, found by showing it black and white.

    Raises:
        EngineError: it does more to pictures than scale them (it changes their size).
    """
    scalings: dict[str, Scaling] = {}
    for key, feature in policy.config.image_features.items():
        ends = [normalise({key: torch.full(tuple(feature.shape), value)})[key][0] for value in (0.0, 1.0)]
        if ends[0].shape != tuple(feature.shape):
            raise EngineError(
                f"the preprocessor turns pictures of {tuple(feature.shape)} into {tuple(ends[0].shape)}; an engine "
                "knows only preprocessors that scale. Possible: engine plain"
            )
        black_C, white_C = (end[:, 0, 0].cpu().double() for end in ends)
        values = ((white_C - black_C) / 255, black_C)
        scalings[key] = Scaling(*(x.to(ends[0]) for x in values))
    return scalings


def _backend(name: str, graph: ActGraph, precision: Precision = "f32") -> Backend:
    if name == "torch":
        return TorchBackend(graph)
    try:
        module = RUNTIMES[name].load()
    except MissingPackageError as problem:
        raise EngineError(_needs(name, problem)) from problem
    return module.OnnxBackend(graph) if name == "onnx" else module.OpenVinoBackend(graph, precision)


def _needs(name: str, problem: object) -> str:
    return f"engine {name} {problem}, or take engine torch"


def _candidates(device: torch.device) -> Iterator[str]:
    """What `auto` measures."""
    if device.type == "cpu":
        yield from (name for name, extra in RUNTIMES.items() if not extra.missing)
    yield "torch"


def _compare(inferred: PolicyOutputs, expected: PolicyOutputs) -> Verification:
    return Verification(
        _difference(inferred.actions_TA, expected.actions_TA),
        _difference(_numbers(inferred), _numbers(expected)),
    )


def _difference(got: Tensor, wanted: Tensor) -> float:
    """The largest, relative to the largest wanted number where that is above 1; NaN between unlike shapes."""
    if got.shape != wanted.shape:
        return math.nan
    got, wanted = got.cpu().double(), wanted.cpu().double()
    return float(((got - wanted).abs() / wanted.abs().amax().clamp_min(1)).amax())


def _numbers(inferred: PolicyOutputs) -> Tensor:
    """All figures of shares and maps that depend on the observation, in one row; one NaN where there are no shares."""
    shares = inferred.shares
    if shares is None:
        return torch.tensor([math.nan])
    cells = [x for cells in (inferred.maps or {}).values() for x in cells.ravel().tolist()]
    heads: Mapping[str, Sequence[float]] = shares.heads or {}
    flat = [x for x in shares if isinstance(x, float)]
    return torch.tensor(
        [*flat, *shares.cameras.values(), *(x for row in heads.values() for x in row), *cells]
    )
