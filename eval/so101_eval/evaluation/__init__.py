"""Many episodes: plan, policies, players, records."""
