"""What a camera saw in the recordings, found again in its live picture, and the live picture put back."""
