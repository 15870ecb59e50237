"""What the person sees during a run: the dashboard in the terminal, and Rerun."""
