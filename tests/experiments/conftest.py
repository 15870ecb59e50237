"""The checkpoint that the tests of the evaluation make, for what gives policies away."""

from ..eval.conftest import act as act
from ..eval.conftest import make as make
