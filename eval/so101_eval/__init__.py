"""Which policy is better: scenes, expert, episodes, statistics and the report. Filled by the palletizing and evaluation work."""
