"""The schedule: who drives when, drawn from the system's random source and sealed before the first trial.

`key.sealed` is a sealed box (libsodium's: X25519 and XSalsa20-Poly1305). Everybody may make one with the public key,
only the secret key opens it. The secret key is kept outside of the study's folder, so that a look into the folder, a
copy of it or a backup tells nothing. That guards against honest curiosity and not against somebody who wants to cheat.
"""

import json
import math
import os
import secrets
from pathlib import Path
from typing import NamedTuple

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

from so101_eval.errors import ConfigError, RecordError
from so101_eval.real_study.design.study import Study
from so101_policy.files.plain_data import parse_json
from so101_policy.files.typed_data import typed
from so101_policy.files.whole_files import write_bytes

SEALED = "key.sealed"
KEYS = "SO101_BENCH_KEYS"
"""Environment variable: the folder of secret keys, in place of the user's own."""
SPARE = 3
"""The queue has room for so many times the blocks that are planned: voids queue blocks again."""


class Schedule(NamedTuple):
    """Who drives when."""

    orders: tuple[tuple[int, ...], ...]
    """[place in the queue][place in the block] -> number of the policy. Voided blocks are queued again at the end, with
    the order of their new place."""

    def check(self, policies: int, places: int) -> None:
        """Raises `RecordError` where it is not one of such a study."""
        right = list(range(policies))
        if len(self.orders) < places or any(sorted(order) != right for order in self.orders):
            raise RecordError(f"{SEALED} holds the schedule of another study")


def places(study: Study) -> int:
    """Room of the queue: practice, planned blocks, and what voids may queue again."""
    return study.practice + SPARE * study.blocks


def draw_schedule(study: Study) -> Schedule:
    """Every order equally likely, each place on its own: nothing that was seen helps to guess what comes."""
    random = secrets.SystemRandom()
    numbers = range(len(study.policies))
    return Schedule(tuple(tuple(random.sample(numbers, len(numbers))) for _ in range(places(study))))


def draw_code() -> str:
    """Four letters for a trial; no vowels, so that they make no words."""
    return "".join(secrets.choice("BCDFGHJKLMNPQRSTVWXZ") for _ in range(4))


def order_bits(policies: int) -> float:
    """Entropy of the order of one block [bits]."""
    return math.log2(math.factorial(policies))


def keys_folder() -> Path:
    """Where secret keys are kept: outside of every study."""
    if given := os.environ.get(KEYS):
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "so101-bench" / "keys"


def seal(folder: Path, study: Study, schedule: Schedule) -> str:
    """Write `key.sealed` into the study's folder and its secret key elsewhere. Returns the public key (hex).

    Raises:
        OSError: one of them cannot be written.
    """
    secret = PrivateKey.generate()
    kept = _secret_path(study.sha256)
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_bytes(kept, bytes(secret).hex().encode() + b"\n")
    kept.chmod(0o600)
    # no longer than needed, and of the same length whatever the order
    text = json.dumps(schedule.orders, separators=(",", ":"))
    write_bytes(folder / SEALED, SealedBox(secret.public_key).encrypt(text.encode()))
    return bytes(secret.public_key).hex()


def unseal(folder: Path, study: Study) -> Schedule:
    """The schedule. Whoever calls this writes an event about it first.

    Raises:
        ConfigError: the secret key is not on this machine.
        RecordError: `key.sealed` was changed, or is another study's.
    """
    kept = _secret_path(study.sha256)
    if not kept.is_file():
        raise ConfigError(
            f"the secret key of this study is not on this machine ({kept}); it was left where the study was locked. "
            f"Copy it from there, or set {KEYS} to its folder"
        )
    try:
        secret = PrivateKey(bytes.fromhex(kept.read_text().strip()))
        text = SealedBox(secret).decrypt((folder / SEALED).read_bytes()).decode()
        orders = typed(list[list[int]], parse_json(text))
    except (CryptoError, ValueError, TypeError, OSError) as problem:
        raise RecordError(
            f"{folder / SEALED} cannot be opened with {kept}: it was changed, or is another study's ({problem})"
        ) from problem
    schedule = Schedule(tuple(map(tuple, orders)))
    schedule.check(len(study.policies), places(study))
    return schedule


def _secret_path(sha256: str) -> Path:
    return keys_folder() / f"{sha256[:32]}.key"
