"""The one kernel: compiled integers that fill orders for replays, paper sessions, labels and sweeps.

book -> queue -> exchange (orders in, events out) -> accounts; feed turns a market into the two event streams they read.
"""
