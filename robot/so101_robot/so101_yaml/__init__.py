"""`so101.yaml`: an arm, its leader, cameras, limits and place, written down once and read by every command.

`find` looks for it and says whether it may be trusted, `content` what can be in it, `flags` what it means for a
command: flags that nobody gave.
"""
