"""From bytes to registers: the link, the frames, the six servos."""
