"""What the operating system is asked for: priorities, threads, the environment of child processes."""
