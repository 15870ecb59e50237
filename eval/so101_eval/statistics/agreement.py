"""Do two scorers of the same videos agree, and more than by chance?"""

from collections.abc import Hashable, Sequence

from so101_eval.statistics.checks import StatisticsError


def raw_agreement(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Share of episodes that both scored the same. Raises StatisticsError where there is nothing to compare."""
    if len(first) != len(second) or not first:
        raise StatisticsError(
            f"{len(first)} against {len(second)} scores: expected as many of both, 1 or more"
        )
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """(agreement - chance) / (1 - chance): 1 is full agreement, 0 what chance gives; None where both never vary.

    Source: Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20, 1960.
    Raises StatisticsError where there is nothing to compare.
    """
    agreement, total = raw_agreement(first, second), len(first)
    chance = sum(list(first).count(score) * list(second).count(score) for score in set(first)) / total**2
    return None if chance == 1 else (agreement - chance) / (1 - chance)
