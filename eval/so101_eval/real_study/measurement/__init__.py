"""What the camera measures at the start and at the end of a trial."""
