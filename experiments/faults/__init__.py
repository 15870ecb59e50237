"""Everything that can go wrong, made to go wrong: the fault table, the soak and the kills."""
