"""Which policy is better, and how sure are we: the procedures, one idea a file.

`paired` for a fixed number of common scenes, `sequential` for a study that is looked at after every pair, `unpaired`
where scenes were not shared, `resampling` over training seeds, `intervals` and `rates` for one policy, `multiplicity`
for many comparisons, `power` for planning, `agreement` for scorers, `prediction_powered` where a simulation helps,
`following` for what follows what. `python -m experiments.null_simulations`
measures that they keep what they promise. Differences are first minus second; intervals hold 1 - alpha.
"""

from so101_eval.statistics.agreement import cohen_kappa, raw_agreement
from so101_eval.statistics.checks import ALPHA, POWER, StatisticsError
from so101_eval.statistics.following import Following, following
from so101_eval.statistics.intervals import Interval, clopper_pearson, jeffreys, posterior_density, wilson
from so101_eval.statistics.multiplicity import (
    compact_letters,
    holm,
    mean_e_value,
)
from so101_eval.statistics.paired import Pairs, mcnemar_exact, mcnemar_mid_p, newcombe_paired, tango, tango_z
from so101_eval.statistics.power import (
    Watched,
    detectable_difference,
    detectable_watched,
    discordance,
    largest_phi,
    mcnemar_power,
    pairs_needed,
    pairs_needed_exactly,
    sequential_power,
)
from so101_eval.statistics.prediction_powered import Powered, prediction_powered
from so101_eval.statistics.rates import garwood
from so101_eval.statistics.resampling import (
    Bootstrap,
    cluster_bootstrap,
    permutation_test,
    sign_flip_test,
    smallest_permutation_p,
)
from so101_eval.statistics.sequential import (
    Decision,
    decide,
    difference_interval,
    difference_sequence,
    e_path,
    e_value,
    e_value_mean,
    e_value_one_sided,
    log_e_two_samples,
    log_e_value,
    mean_interval,
    mean_sequence,
)
from so101_eval.statistics.unpaired import (
    barnard,
    detectable_unpaired,
    newcombe,
    unpaired_needed,
    unpaired_power,
)

__all__ = [
    "ALPHA",
    "POWER",
    "Bootstrap",
    "Decision",
    "Following",
    "Interval",
    "Pairs",
    "Powered",
    "StatisticsError",
    "Watched",
    "barnard",
    "clopper_pearson",
    "cluster_bootstrap",
    "cohen_kappa",
    "compact_letters",
    "decide",
    "detectable_difference",
    "detectable_unpaired",
    "detectable_watched",
    "difference_interval",
    "difference_sequence",
    "discordance",
    "e_path",
    "e_value",
    "e_value_mean",
    "e_value_one_sided",
    "following",
    "garwood",
    "holm",
    "jeffreys",
    "largest_phi",
    "log_e_two_samples",
    "log_e_value",
    "mcnemar_exact",
    "mcnemar_mid_p",
    "mcnemar_power",
    "mean_e_value",
    "mean_interval",
    "mean_sequence",
    "newcombe",
    "newcombe_paired",
    "pairs_needed",
    "pairs_needed_exactly",
    "permutation_test",
    "posterior_density",
    "prediction_powered",
    "raw_agreement",
    "sequential_power",
    "sign_flip_test",
    "smallest_permutation_p",
    "tango",
    "tango_z",
    "unpaired_needed",
    "unpaired_power",
    "wilson",
]
