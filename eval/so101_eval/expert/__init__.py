"""The scripted expert: grips, inverse kinematics, motion."""
