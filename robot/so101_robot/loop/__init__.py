"""The control loop: one tick after the other, from approach to ending."""
