"""Hold the synthetic market against what six real recordings measured: `make facts`.

Besides the stylised facts: what the fill model finds there, and how much the touch rule overstates fills.
"""

from __future__ import annotations

import argparse

import polars as pl

from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.labels import LabelSet, label
from grinder_kit.market.stylised import Fact, stylised_facts
from grinder_kit.market.synthetic import synthetic_market


def main() -> None:
    """Print the table, rows outside their range marked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, nargs="+", default=[7, 11, 23])
    parser.add_argument("--minutes", type=float, default=12)
    arguments = parser.parse_args()
    tables = [facts(seed, arguments.minutes) for seed in arguments.seed]
    print(f"synthetic market, {arguments.minutes:g} minutes; seeds {', '.join(map(str, arguments.seed))}")
    outside = 0
    for rows in zip(*tables, strict=True):
        wrong = sum(not row.inside for row in rows)
        outside += wrong
        values = "".join(f"{row.value:>10.3g}" for row in rows)
        print(
            f"{rows[0].name:<52}{values}   {rows[0].low:g} to {rows[0].high:g}{'   outside: ' + str(wrong) if wrong else ''}"
        )
    print(f"{outside} of {len(tables) * len(tables[0])} outside")


def facts(seed: int, minutes: float) -> list[Fact]:
    """Return every fact of one market."""
    market = synthetic_market(seed, minutes)
    labels = label(market)
    parameters = FirstPassageModel().fit(labels).parameters
    return [
        *stylised_facts(market),
        Fact(name="first passage: b1", value=parameters.b1, low=1.8, high=2.2),
        Fact(name="first passage: k", value=parameters.k, low=0.35, high=0.61),
        Fact(
            name="touch rule / queue-aware labels, touch, 1 s",
            value=overstated(labels, at_touch=True),
            low=1.5,
            high=3.0,
        ),
        Fact(
            name="touch rule / queue-aware labels, 1 to 5 bps, 1 s",
            value=overstated(labels, at_touch=False),
            low=0.9,
            high=1.05,
        ),
    ]


def overstated(labels: LabelSet, *, at_touch: bool, within_s: float = 1.0) -> float:
    """Return how many orders the touch rule fills within a time, over those that a queue fills."""
    where = pl.col("at_touch") if at_touch else ~pl.col("at_touch") & pl.col("distance_bps").is_between(1, 5)
    rows = labels.frame.filter(where & (pl.col("watched_s") >= within_s))
    filled = [(rows[f"filled_{rule}"] & (rows[f"time_s_{rule}"] <= within_s)).sum() for rule in ("touch", "power")]
    return filled[0] / filled[1]


if __name__ == "__main__":
    main()
