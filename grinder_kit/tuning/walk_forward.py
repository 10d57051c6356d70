"""Walk-forward: what a study would have picked at each point of the past, and what that did next."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.execution.journal_words import utc
from grinder_kit.fillprob.interval import Floats
from grinder_kit.simulation.verdict import money_digits
from grinder_kit.tuning.part import Part, whole_blocks
from grinder_kit.tuning.pick import Score, block_matrix, hourly_intervals, known_or_none
from grinder_kit.tuning.trial import Outcome, cell

if TYPE_CHECKING:
    from grinder_kit.tuning.study import Study


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class WalkForward:
    """How picks on the past did on what came next.

    Attributes
    ----------
    table : DataFrame
        One row a fold: fold, start_ns and end_ns of the judging stretch, trial, net_per_hour, low, high of the pick there, the same
        of the stretches before (net_per_hour_train, low_train, high_train), rank (share of the trials that did worse there: .5 is
        what a blind pick has), and the parameters.
    score : Score
        Of all judging stretches together.
    """

    table: pl.DataFrame
    score: Score

    @property
    def rank(self) -> float:
        """Mean share of the trials that did worse than the pick where it was judged; .5 is what a blind pick has."""
        return float(np.mean(self.table["rank"].to_numpy()))

    @property
    def verdict(self) -> str:
        """It in words."""
        folds = self.table.height
        return (
            f"walk-forward over {folds} folds: {self.score.text}; the picks beat {100 * self.rank:.0f} % of the trials where "
            "they were judged (50 % is a blind pick)"
        )

    def _shown(self) -> list[list[str]]:
        digits = money_digits(*self.table["net_per_hour"])
        rows = [["fold", "from (UTC)", "trial", "test/h", "train/h", "rank"]]
        for row in self.table.iter_rows(named=True):
            rows.append(
                [str(row["fold"]), utc(row["start_ns"]), str(row["trial"]), f"{row['net_per_hour']:+,.{digits}f}",
                 f"{row['net_per_hour_train']:+,.{digits}f}", f"{row['rank']:.2f}"]
            )  # fmt: skip
        return rows

    def __repr__(self) -> str:
        rows = self._shown()
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([self.verdict, *lines])

    def _repr_html_(self) -> str:
        head, *rows = self._shown()
        first = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        return f"<p>{html.escape(self.verdict)}</p><table><tr>{first}</tr>{body}</table>"


def walk_forward(study: Study, folds: int) -> WalkForward:
    """Return how a study's complete trials would have been picked and have done; see :meth:`Study.walk_forward`."""
    if folds < 1:
        raise ConfigError(f"folds is {folds}; write 1 or more")
    trials = study.complete
    if not trials:
        raise DataError("the study has no complete trial; let it run longer")
    about, configs = study.about, [trial.config for trial in trials]
    first, last = about.window_ns
    edges = [first + (last - first) * at // (folds + 1) for at in range(folds + 1)] + [last + 1]
    gap = round(about.purge_s * 1e9)
    stretches: list[list[Outcome]] = []
    spans: list[tuple[int, int]] = []
    for at, (start, end) in enumerate(zip(edges, edges[1:], strict=False)):
        start = start + gap if at else start
        if start >= end:
            raise ConfigError(
                f"{folds} folds leave stretches of {(last - first) / 1e9 / (folds + 1):,.0f} s, and the gap is {about.purge_s:g} s; "
                "write fewer"
            )
        start = end - whole_blocks(start, end, about.block_s)
        spans.append((start, end))
        stretches.append(Part(study.market.window(start, end), block_s=about.block_s, model=study._model).run(configs))
    blocks = [block_matrix(outcomes) for outcomes in stretches]
    rows, judged, hours, net = [], [], 0.0, 0.0
    for fold in range(1, folds + 1):
        past = np.concatenate(blocks[:fold], axis=1)
        rates = [_rates(outcomes) for outcomes in stretches]
        lengths = np.array([outcomes[0].hours for outcomes in stretches[:fold]])
        before = lengths @ np.stack(rates[:fold]) / lengths.sum()
        ends = hourly_intervals(past, about.block_s)
        at = int(np.argmax(np.where(np.isnan(ends[0]), -np.inf, ends[0]) if np.isfinite(ends[0]).any() else before))
        there, inside = rates[fold], hourly_intervals(blocks[fold][at : at + 1], about.block_s)
        worse, alike = (there < there[at]).sum(), (there == there[at]).sum() - 1
        judged.append(blocks[fold][at : at + 1])
        hours += stretches[fold][at].hours
        net += float(stretches[fold][at].net)
        rows.append(
            {
                "fold": fold, "start_ns": spans[fold][0], "end_ns": spans[fold][1], "trial": trials[at].number,
                "net_per_hour": float(there[at]), "low": known_or_none(inside[0][0]), "high": known_or_none(inside[1][0]),
                "net_per_hour_train": float(before[at]), "low_train": known_or_none(ends[0][at]),
                "high_train": known_or_none(ends[1][at]),
                "rank": float((worse + alike / 2) / max(1, len(trials) - 1)) if len(trials) > 1 else 0.5,
                **{name: cell(value) for name, value in trials[at].parameters.items()},
            }
        )  # fmt: skip
    together = np.concatenate(judged, axis=1)
    low, high = (known_or_none(end[0]) for end in hourly_intervals(together, about.block_s))
    score = Score(
        per_hour=net / hours, low=low, high=high, blocks=together.shape[1], moved=int(np.count_nonzero(together)),
        block_s=about.block_s, asset=study.asset,
    )  # fmt: skip
    nullable = dict.fromkeys(("low", "high", "low_train", "high_train"), pl.Float64)
    return WalkForward(table=pl.DataFrame(rows, schema_overrides=nullable), score=score)


def _rates(outcomes: list[Outcome]) -> Floats:
    return np.array([outcome.net_per_hour for outcome in outcomes])
