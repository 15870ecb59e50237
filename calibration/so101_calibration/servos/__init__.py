"""Servos: ids, offsets, ranges, and the person who moves the joints."""
