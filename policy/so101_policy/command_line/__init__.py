"""What every command does the same way: flags, exit codes, the terminal, and the packages of extras."""
