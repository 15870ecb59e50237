"""A checkpoint that answers: the policy and its engines."""
