"""The presets of a regularizer: named sets of values, each with what it is and where its numbers come from.

`RegularizerConfig(preset=...)` takes from here what is not given. Formulas, sources and measurements:
docs/guides/regularizer.md.
"""

from collections.abc import Mapping
from typing import Any

OFF: dict[str, Any] = {
    "state_dropout": 0.0,
    "state_dropout_fill": "mask_token",
    "state_dim_dropout": 0.0,
    "state_noise": 0.0,
    "camera_dropout": 0.0,
    "isolation": False,
    "weight": 0.0,
    # and no ceiling and no floor, whatever the unit
    "floor_weight": 1.0,
    "beta": 0.0,
    "space": "prob",
    "threshold_unit": "share",
    "reduction": "query",
    "cvar_fraction": 0.1,
    "group": "state",
    "attention": "cross",
    "queries": "all",
    "entropy_floor": 0.0,
    "entropy_weight": 1.0,
    "entropy_bonus": 0.0,
    "camera_balance": 0.0,
    "warmup_start": 0,
    "warmup_end": 0,
    "weight_schedule": "constant",
    "pi_kp": 0.2,  # with these a simulated share stays within .28 .. .75 on its way to .35, for pulls of .006
    "pi_ki": 0.001,  # to .1 and learning rates of 1 to 20; with ki .01 it undershoots to .13
    "pi_max": 1.0,
    "threshold_schedule": "constant",
    "adaptive_step": 0.1,
    "adaptive_low": 1.1,
    "adaptive_high": 1.3,
}
"""Stock ACT, and the value of everything that a preset does not name."""

# The seed idea's basic loss, as it was given: mean share of latent and joint state, over all tokens.
_SEED = {"weight": 0.005, "ceiling": 0.35, "group": "state_and_latent", "reduction": "pooled"}
_CEILING = {"isolation": True, "weight": 1.0, "ceiling": 0.2}
_BAND = _CEILING | {"floor": 0.05}
_BAND_DROPOUT = _BAND | {"state_dropout": 0.3}

PRESETS: Mapping[str, dict[str, Any]] = {
    "none": {},  # not "off": YAML, and so the command line, reads that as false
    # Modality dropout, p = 0.3: toy error under shift .267 -> .084. GR00T N1.6 drops state with a mask token too.
    "phase1": {"state_dropout": 0.3},
    # lambda (relu(r - tau) - alpha H): kept for comparison. On a stock encoder it changes no behaviour.
    "phase2": _SEED | {"entropy_bonus": 0.5},
    # lambda (relu(r - tau) + gamma relu(rho - r)); the seed subtracts the floor and so rewards r = 0.
    "phase3": _SEED | {"floor": 0.10, "floor_weight": 0.5},
    # The seed's third scheme, repaired: smooth, late, and the ceiling rises while the held-out loss suffers.
    "adaptive": {
        "weight": 0.01,
        "ceiling": 0.30,
        "floor": 0.10,
        "floor_weight": 0.5,
        "beta": 0.1,
        "warmup_start": 5_000,
        "warmup_end": 10_000,
        "threshold_schedule": "adaptive",
        "adaptive_step": 0.10,
    },
    # The encoder's vision tokens cannot attend to the state: toy .267 -> .130, pilot reliance .54 -> .05 (+ ceiling).
    "isolation": {"isolation": True},
    # With it a ceiling is a real valve: toy .267 -> .041 at tau .20; at .02 the state that is needed is lost too.
    "isolation_ceiling": _CEILING,
    "isolation_band": _BAND,
    "isolation_band_dropout": _BAND_DROPOUT,
    "recommended": _BAND_DROPOUT,
    # Controls: what a policy can do that never sees the arm's state, or never a picture.
    "no_state": {"state_dropout": 1.0, "state_dropout_fill": "mean_pose"},
    "no_images": {"camera_dropout": 1.0},
}
