"""The commands of so101-bench."""
