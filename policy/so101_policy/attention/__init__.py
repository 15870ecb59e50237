"""Where the decoder looks: shares, maps, and attention that keeps states apart."""
