"""A process of its own that makes the arm safe when the run hangs or dies."""
