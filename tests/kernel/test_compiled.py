"""Compiling happens once on a machine, and says that it happens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CALL = """
import logging
import numpy as np

from grinder_kit.simulation.grid_exchange import seek
assert seek(np.array([1, 3, 5]), 0, 3, 3) == 2
"""


def test_the_first_call_says_that_it_compiles(tmp_path: Path) -> None:
    """A process that finds nothing compiled says so before it compiles; the next one finds it, and is silent."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", CALL], check=True, capture_output=True, text=True, env=environment).stderr
        for _ in range(2)
    ]
    assert said[0].count("compiling for this machine, once") == 1
    assert "compiling" not in said[1]
