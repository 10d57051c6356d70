"""Run the one set of rules over a recorded or synthetic market, and keep what came of it."""
