"""so101-train: data, loop, checkpoints."""
