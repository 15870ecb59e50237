"""What a training is asked for: its config, the flags of the command, and files of settings, LeRobot's among them."""
