"""Slow motion from pose to pose, and how near is near."""
