"""Many drills, and the mutants: `make soak SEED=n` and `make mutants`.

Every violation is printed with its seed, which runs it again: `python -m tests.lab.soak --seed SEED --drills 1`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from grinder_kit.execution.clock import run_stepped
from tests.lab.laboratory import drill
from tests.lab.mutants import MUTANTS

CHUNK = 50
#: Drills in which a mutant must be noticed.
MUTANT_DRILLS = 300


def run_drill(seed: int) -> tuple[list[str], str]:
    """Run one drill in memory; return what did not hold, and the faults that were injected."""
    with tempfile.TemporaryDirectory() as folder:
        found, laboratory = run_stepped(drill(Path(folder), seed))
    return found, laboratory.schedule.story()


def run_chunk(first: int, count: int) -> list[tuple[int, list[str]]]:
    """Run some drills; return those in which something did not hold."""
    logging.disable(logging.CRITICAL)  # a drill warns hundreds of times, as it should
    failed = []
    for seed in range(first, first + count):
        try:
            found, _ = run_drill(seed)
        except Exception as error:
            found = [f"the drill itself failed: {error!r}"]
        if found:
            failed.append((seed, found))
    return failed


def first_noticed(name: str) -> tuple[int, str] | None:
    """Return the drill in which a mutant is noticed first, and by what; None where it is not."""
    with MUTANTS[name]():
        for seed in range(MUTANT_DRILLS):
            found, _ = run_drill(seed)
            if found:
                return seed, found[0]
    return None


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--drills", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--mutants", action="store_true", help="check that each mutant is noticed instead")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if arguments.mutants:
        missed = 0
        for name in MUTANTS:
            noticed = first_noticed(name)
            missed += noticed is None
            print(
                f"{name:<45}",
                "NOT NOTICED" if noticed is None else f"drill {noticed[0]}: {noticed[1][:120]}",
                flush=True,
            )
        return 1 if missed else 0
    if arguments.drills == 1:
        found, story = run_drill(arguments.seed)
        print(story, *found, sep="\n")
        return 1 if found else 0
    started, violations = time.monotonic(), 0
    last = arguments.seed + arguments.drills
    with ProcessPoolExecutor(arguments.processes) as pool:
        starts = range(arguments.seed, last, CHUNK)
        for failed in pool.map(run_chunk, starts, [min(CHUNK, last - start) for start in starts]):
            for seed, found in failed:
                violations += 1
                print(f"seed {seed}:", *found, sep="\n  ", flush=True)
    minutes = (time.monotonic() - started) / 60
    print(f"{arguments.drills:,} drills from seed {arguments.seed}: {violations} with violations; {minutes:.1f} min")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
