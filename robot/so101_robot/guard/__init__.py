"""May this goal be sent? Limits, geometry and loads."""
