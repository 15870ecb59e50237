"""What a LeRobot policy server answers, read without letting it run anything.

The answer is a pickle, a list of LeRobot's `TimedAction`, and LeRobot's own client loads it with `pickle.loads`, which
runs whatever it says. Here only what such a list consists of has a meaning, and a stand-in of ours each: nothing is
imported, no class of LeRobot or torch is made, and the numbers come out as numpy arrays. Everything else is an
`AnswerError`.

A tensor lies in it as torch pickles it: `_rebuild_tensor_v2` of a storage, and the storage as bytes of its own, in
torch's old format, three small pickles and the numbers after them. LeRobot would read these with
`torch.load(weights_only=False)`, which is as good as `pickle.loads`.
"""

import io
import pickle
import pickletools
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from so101_policy.errors import PolicyError, shown

MOST_BYTES = 4 * 1024 * 1024
"""Of an answer: LeRobot's own limit of a message."""

MOST_ACTIONS = 10_000

MAGIC = 0x1950A86A20F9469CFC6C
"""With which torch's old format begins (torch/serialization.py)."""
PROTOCOL = 1001
"""Its version."""

NUMBERS = {"FloatStorage": "<f4", "DoubleStorage": "<f8"}
"""Storages of numbers in which an action may be; LeRobot's postprocessors give 32 bits."""

REMEMBERS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
"""Opcodes that say themselves where they remember something: unpickling makes room up to there."""


type Names = Mapping[tuple[str, str], object]
"""Module and name -> what stands for it."""


class AnswerError(PolicyError, ValueError):
    """An answer that is no list of actions, or that would do something else than being read."""


class Answer(NamedTuple):
    """A chunk from a server."""

    first: int
    """The number of its first action, which is that of the observation that it answers."""
    actions: NDArray[np.float32]
    """(T, A) in the units of training."""


class _Action:
    """In the place of LeRobot's `TimedAction`. (A pickle can set attributes of whatever it names: here of nothing.)"""

    __slots__ = ("action", "timestep")

    def __init__(self) -> None:
        self.timestep = self.action = cast(Any, None)

    def __setstate__(self, fields: Any) -> None:
        self.timestep, self.action = fields["timestep"], fields["action"]


def read_answer(data: bytes, size: int) -> Answer:
    """The chunk that these bytes are.

    Args:
        data: as they came.
        size: entries of an action.

    Raises:
        AnswerError: they are something else, or too many.
    """
    if len(data) > MOST_BYTES:
        raise AnswerError(f"the answer has {len(data)} bytes, expected {MOST_BYTES} at most")
    found = _next(io.BytesIO(data), _ANSWER)
    if not isinstance(found, list):
        raise AnswerError(f"the answer is {shown(type(found).__name__)}, expected a list of actions")
    actions = cast(list[Any], found)
    if not 1 <= len(actions) <= MOST_ACTIONS or not all(type(each) is _Action for each in actions):
        raise AnswerError(f"the answer is a list of {len(actions)}, expected 1 to {MOST_ACTIONS} actions")
    first = actions[0].timestep
    for number, each in enumerate(actions):
        if type(each.timestep) is not int or each.timestep != first + number:
            raise AnswerError(f"action {number} of the answer is for the step {shown(each.timestep)}")
        if not isinstance(each.action, np.ndarray) or each.action.shape != (size,):
            got = getattr(each.action, "shape", type(each.action).__name__)
            raise AnswerError(
                f"the server's actions have the shape {got}, expected ({size},): does it play another policy?"
            )
    return Answer(first, np.stack([each.action for each in actions]).astype(np.float32))


class _Restricted(pickle.Unpickler):
    """Knows the names it is given, and no other."""

    def __init__(self, file: io.BytesIO, names: Names) -> None:
        super().__init__(file)
        self._names = names

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = (module_name, global_name)
        if name not in self._names:
            raise AnswerError(
                f"the answer wants to use {shown('.'.join(name))}, which no list of actions needs: it was not read. Do "
                "you know this server?"
            )
        return self._names[name]

    def persistent_load(self, pid: Any) -> Any:
        """Of a storage: torch names its kind, its place and its size so."""
        match pid:
            case ("storage", _Kind() as kind, str(), str(), int(count), None):
                return _Storage(kind, count)
            case _:
                raise AnswerError("a tensor in the answer is not as torch writes it")


class _Kind(NamedTuple):
    """Of the numbers of a storage, as numpy calls it."""

    dtype: str


class _Storage(NamedTuple):
    """What a storage says of itself."""

    kind: _Kind
    size: int


def _next(file: io.BytesIO, names: Names) -> Any:
    """The next pickle in a file. Raises AnswerError."""
    begin, size = file.tell(), len(file.getbuffer())
    try:
        for opcode, value, _ in pickletools.genops(file):
            if opcode.name in REMEMBERS and not 0 <= int(cast(int, value)) <= size:
                raise AnswerError("the answer asks for more memory than it has reason to")
        file.seek(begin)
        return _Restricted(file, names).load()
    except AnswerError:
        raise
    except Exception as error:  # of a pickle that is broken anything may come
        raise AnswerError(f"the answer cannot be read: {type(error).__name__}") from error


class _LoadFromBytes:
    """In the place of torch's `_load_from_bytes`: the numbers of a storage."""

    __slots__ = ()

    def __call__(self, data: Any) -> NDArray[Any]:
        file = io.BytesIO(data)
        magic, protocol, about = (_next(file, {}) for _ in range(3))
        storage, _ = _next(file, _STORAGES), _next(file, {})
        fine = (magic, protocol) == (MAGIC, PROTOCOL) and about["little_endian"] is True
        if not fine or not isinstance(storage, _Storage):
            raise AnswerError("a tensor in the answer is not as torch writes it")
        (count,) = np.frombuffer(file.read(8), "<i8").tolist()
        numbers = np.frombuffer(file.read(), storage.kind.dtype)
        if not count == storage.size == len(numbers):
            raise AnswerError(f"a tensor in the answer has {len(numbers)} numbers and says {count}")
        return numbers


class _RebuildTensor:
    """In the place of torch's `_rebuild_tensor_v2`, of a row of numbers that lie beside each other."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> NDArray[Any]:
        (count,), (apart,) = size, stride
        if not isinstance(storage, np.ndarray) or apart != 1 or not 0 <= offset <= len(storage) - count:
            raise AnswerError("an action in the answer is no row of numbers")
        return cast(NDArray[Any], storage)[offset : offset + count]


_ANSWER: Names = {
    ("lerobot.async_inference.helpers", "TimedAction"): _Action,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch.storage", "_load_from_bytes"): _LoadFromBytes(),
    ("collections", "OrderedDict"): dict,  # of a tensor's hooks: empty
}
_STORAGES: Names = {("torch", name): _Kind(dtype) for name, dtype in NUMBERS.items()}
