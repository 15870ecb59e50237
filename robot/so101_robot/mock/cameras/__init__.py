"""The mock arm's cameras: rendering, shutter, publishing."""
