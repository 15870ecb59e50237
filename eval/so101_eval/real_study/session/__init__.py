"""The runner: the arm, the policies, and the order in which things are asked and done."""
