"""What can go wrong during a run, how it is noticed, and what is done about it."""
