"""Many episodes: plan, policies, jobs, records."""
