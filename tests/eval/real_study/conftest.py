"""Secret keys of studies that tests make stay with the tests."""

from pathlib import Path

import pytest

from so101_eval.real_study.design.sealing import KEYS


@pytest.fixture(autouse=True)
def _keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS, str(tmp_path / "keys"))
