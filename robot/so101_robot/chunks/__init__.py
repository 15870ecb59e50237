"""When the policy is asked, and which action of its chunks is next."""
