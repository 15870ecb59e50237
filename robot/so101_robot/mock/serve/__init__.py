"""so101-mock: the mock arm as a program, on a pseudo-terminal."""
