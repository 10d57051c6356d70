"""Markets: recordings, importers, synthetic markets and features; nothing is imported until it is asked for."""
