"""The regularized ACT: configuration, model, training pass, export."""
