"""The mock arm's body and surroundings: motors, MuJoCo, the hand that guides it."""
