"""What has happened: a file of lines that are chained by their hashes, and the state that they amount to."""
