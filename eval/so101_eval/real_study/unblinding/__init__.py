"""After the last block: names for codes, records, tables."""
