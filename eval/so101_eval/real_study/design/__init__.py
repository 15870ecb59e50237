"""What a study is, as data, before anything has happened: settings, table of faults, sealed schedule."""
