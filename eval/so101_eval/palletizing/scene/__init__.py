"""What stands on the table: tasks, scenarios, draws, the MuJoCo model."""
