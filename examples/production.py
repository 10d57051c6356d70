"""Trade an exported grid on paper, if it still does what it did: `python examples/production.py FILE.toml RECORDING [SPEED]`."""

import sys

import grinder_kit as gk

file, data, *speed = sys.argv[1:]
check = gk.verify(file, data)
if not check.same:
    sys.exit(f"{check}")
session = gk.Session(file, market=data, policy="run_on", speed=float(*speed or [1]))
session.start()
session.wait()
