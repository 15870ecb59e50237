"""so101-eval and its subcommands."""
