"""Is it getting better: held-out loss, episodes that are played, a loss that has diverged."""
