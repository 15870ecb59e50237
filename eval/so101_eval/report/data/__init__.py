"""What the report says, as numbers and sentences."""
