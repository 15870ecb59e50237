"""What an episode achieved: contacts, placements, smoothness, the record."""
