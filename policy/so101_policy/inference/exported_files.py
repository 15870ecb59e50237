"""Exported graphs, kept on disk: exporting takes seconds, on a small board half a minute, reading one does not.

A file's name is made of all that decides about its numbers: every weight and constant of the graph, the policy's
configuration, and who wrote it. It is written under another name and renamed when it is whole. The few latest are kept.
That a file is right is not taken on trust: an engine is verified on the first observation, wherever it came from.
"""

import hashlib
import logging
from collections.abc import Callable
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path

from so101_policy.files.places import engines_folder
from so101_policy.files.whole_files import write_bytes
from so101_policy.inference.graph import ActGraph

logger = logging.getLogger(__name__)

FORMAT = 1
"""Raised whenever `ActGraph.forward` changes."""

MAX_BYTES = 1_000_000_000
"""All files together. That of a default ACT takes 130 MB; those of a study's small models 4 MB each."""

EXPORTERS = ("torch", "onnx", "onnxscript")


def default_folder() -> Path:
    """See `places`."""
    return engines_folder()


def name_of(graph: ActGraph) -> str:
    """All that decides about the numbers, in a few letters."""
    digest = hashlib.sha256(repr((FORMAT, graph.description, [*map(version, EXPORTERS)])).encode())
    for name, tensor in graph.state_dict().items():
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return f"{digest.hexdigest()[:32]}.onnx"


def stored(graph: ActGraph, export: Callable[[ActGraph], bytes], folder: Path) -> Path | bytes:
    """The exported graph: a file that is there, or one that is written now; as bytes where none can be written."""
    path = folder / name_of(graph)
    if path.is_file():
        path.touch()
        return path
    model = export(graph)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(path, model)
        _tidy(folder)
    except OSError as error:
        logger.warning(
            "the exported policy could not be saved in %s and will be exported again next time: %s",
            folder,
            error,
        )
        return model
    return path


def opened[T](
    graph: ActGraph,
    export: Callable[[ActGraph], bytes],
    read: Callable[[Path | bytes], T],
    errors: tuple[type[Exception], ...],
    folder: Path | None = None,
) -> T:
    """What a runtime's `read` makes of the exported graph. A file at which it raises one of `errors` is damaged, and
    exported again, once.

    Args:
        folder: where exported graphs are kept; None: `default_folder()`.

    Raises:
        Exception: what the export raises, or `read` at a graph that is new.
    """
    folder = folder or default_folder()
    found = stored(graph, export, folder)
    try:
        return read(found)
    except errors:
        (folder / name_of(graph)).unlink(missing_ok=True)
        return read(stored(graph, export, folder))


def _tidy(folder: Path) -> None:
    """Remove what was not used for longest, until the rest is `MAX_BYTES`; the latest stays in any case."""
    found = [(path.stat(), path) for path in folder.glob("*.onnx")]
    files = sorted(found, key=lambda file: file[0].st_mtime, reverse=True)
    sizes = accumulate(about.st_size for about, _ in files)
    for size, (_, path) in list(zip(sizes, files, strict=True))[1:]:
        if size > MAX_BYTES:
            path.unlink(missing_ok=True)
