"""When a study is decided, and how many blocks to plan: pure functions."""
