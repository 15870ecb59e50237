"""Leader and follower side by side: which is where, and whether the two mean the same by an angle."""
