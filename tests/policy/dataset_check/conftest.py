"""A small valid SO-101 dataset."""

import shutil
from pathlib import Path

import pytest

from so101_dataset import record


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return record(tmp_path_factory.mktemp("dataset") / "small")


@pytest.fixture
def copy(valid: Path, tmp_path: Path) -> Path:
    """One that may be changed."""
    return shutil.copytree(valid, tmp_path / "small")
