"""What a run leaves behind: log, summary, dataset, provenance."""
