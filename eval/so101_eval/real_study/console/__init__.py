"""What the operator sees: a process of its own that knows no names, no paths and no order."""
