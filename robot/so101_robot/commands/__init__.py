"""so101-run and so101-replay: flags, composition, exit codes."""
