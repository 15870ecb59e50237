"""A page in a browser: its server, a process of its own, and what a run and a study show by it."""
