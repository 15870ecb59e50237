"""What made the tables and figures of the documents; not part of the package."""
