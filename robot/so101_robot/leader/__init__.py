"""The arm that a person moves: at the wire, and as what plays in the loop."""
