"""The table of a study: one row a trial, out of sample before in sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from grinder_kit.tuning.pick import known_or_none
from grinder_kit.tuning.trial import cell

if TYPE_CHECKING:
    from grinder_kit.tuning.study import Study

#: What is shown of an outcome beside its profit.
METRICS = ("round_trips", "fills", "fees", "drawdown", "inventory_p95", "fill_rate")
_WHOLE = ("round_trips", "fills")


def trials_table(study: Study) -> pl.DataFrame:
    """Return the table; its columns are those of :attr:`Study.table`."""
    trials = study.trials
    row_of = {trial.number: row for row, trial in enumerate(study.complete)}
    rows = [row_of.get(trial.number) for trial in trials]
    columns: dict[str, Any] = {
        "trial": pl.Series([trial.number for trial in trials], dtype=pl.Int64),
        "pruned_at": pl.Series([trial.pruned_at for trial in trials], dtype=pl.Float64),
    }
    for part in ("test", "train"):
        found = {"net_per_hour": study.per_hour(part), **dict(zip(("low", "high"), study.interval(part), strict=True))}
        for name, values in found.items():
            column = [None if row is None else known_or_none(values[row]) for row in rows]
            columns[f"{name}_{part}"] = pl.Series(column, dtype=pl.Float64)
    for name in METRICS:
        kind = pl.Int64 if name in _WHOLE else pl.Float64
        for part in ("test", "train"):
            outcomes = [getattr(trial, part) for trial in trials]
            column = [None if one is None else float(getattr(one, name)) for one in outcomes]
            columns[f"{name}_{part}"] = pl.Series(column, dtype=pl.Float64).cast(kind)
    for name in study.about.space.names:
        columns[name] = pl.Series([cell(trial.parameters[name]) for trial in trials])
    return pl.DataFrame(columns)
