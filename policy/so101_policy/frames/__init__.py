"""A dataset's frames, decoded once, and samples from them."""
