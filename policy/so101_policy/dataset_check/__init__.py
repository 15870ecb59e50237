"""A dataset is looked at before it acts: description, tables, numbers, videos, statistics."""
