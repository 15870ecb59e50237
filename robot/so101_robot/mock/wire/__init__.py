"""The mock arm's wire: bytes, packets, and the faults that happen to them."""
