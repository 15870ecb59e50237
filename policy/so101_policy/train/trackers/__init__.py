"""Services that draw a run's figures: one module each, loaded by `metrics` when it is asked for."""
