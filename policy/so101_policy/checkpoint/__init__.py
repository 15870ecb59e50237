"""What a checkpoint says is looked at before it acts: files, settings, processors,
statistics, weights."""
