"""One episode: from a scene to a score."""
