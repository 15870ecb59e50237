"""Who operates at a real sitting (placeholder)."""
from so101_eval.real_study.session.hands import Hands
from so101_eval.real_study.session.operator import Operator


def make_operator(hands: Hands, *, port: int, lan: bool, console: bool) -> Operator:
    raise NotImplementedError
