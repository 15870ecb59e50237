"""The commands of this package. `cli` is light: it knows their names, not their work."""
