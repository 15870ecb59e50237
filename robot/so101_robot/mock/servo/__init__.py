"""The mock arm's servos: firmware and memory."""
