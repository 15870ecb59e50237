"""Files that are written whole, and data from outside that is looked at before it is used."""
