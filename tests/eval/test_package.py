"""What the package exports, and how light it is."""

import subprocess
import sys
from importlib.resources import files

import pytest

import so101_eval


@pytest.mark.parametrize("name", so101_eval.__all__)
def test_every_exported_name_is_there_and_documented(name: str):
    assert getattr(so101_eval, name).__doc__


def test_a_name_that_is_not_exported_is_no_attribute():
    with pytest.raises(AttributeError, match="has no attribute 'Bench'"):
        _ = so101_eval.Bench


def test_the_package_tells_type_checkers_that_it_has_types():
    assert (files("so101_eval") / "py.typed").is_file()


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, so101_eval\n"
    code += "heavy = {'torch', 'lerobot', 'mujoco', 'cv2', 'scipy', 'matplotlib'} & set(sys.modules)\n"
    code += "assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True)
