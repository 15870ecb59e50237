"""A policy that another process computes: LeRobot's `PolicyServer`, asked over the network."""
