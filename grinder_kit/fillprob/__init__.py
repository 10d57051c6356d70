"""How likely a resting order is to fill."""
