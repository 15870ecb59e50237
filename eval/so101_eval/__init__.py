"""Which policy is better: scenes, an expert, attempts and scores."""
