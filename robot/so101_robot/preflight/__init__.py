"""What is checked before the arm moves."""
