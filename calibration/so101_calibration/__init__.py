"""What maps numbers to the world: servo homing and ranges, camera intrinsics and pose, drift."""
