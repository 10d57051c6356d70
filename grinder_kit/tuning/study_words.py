"""What a study says of itself: to people as text and HTML, to programs as JSON."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from grinder_kit.execution.journal_words import utc
from grinder_kit.simulation.verdict import BLOCK_S, money_digits
from grinder_kit.tuning.pick import Pick

if TYPE_CHECKING:
    from grinder_kit.tuning.study import Study


def warnings(study: Study) -> tuple[str, ...]:
    """Return what a reader must know before using a number, in sentences."""
    out, about = [], study.about
    if study.interrupted:
        out.append(f"stopped after {len(study.trials):,} of {about.trials:,} trials; what is done is kept")
    if not study.complete:
        return (*out, "no trial is complete")
    best, luck, beside = study.best, study.luck(), study.luck_against_neighbours()
    blocks = f"{study.blocks().shape[1]} blocks of {about.block_s:g} s"
    if luck is None or not study.judged:
        out.append(f"no trial moved in enough of {blocks} for an interval: take a longer market")
    elif not luck.distinguishable:
        out.append("the best is not distinguishable from zero once the search over all trials is allowed for")
    elif luck.per_hour < 0:
        out.append("even the best loses: doing nothing is better")
    if beside is not None and not beside.distinguishable:
        out.append("the best is not distinguishable from its neighbours: which of them is taken matters little")
    if best.fragile:
        out.append(best.around.words if best.around.median is None else f"the best is {best.around.words}")
    if about.block_s < BLOCK_S and study.judged:
        out.append(f"the test part is short: {blocks} make intervals that are rather too narrow")
    for key, trials in study.slow.items():
        out.append(f"{key} kept {trials:,} trials out of the compiled path; they were replayed step by step")
    assumed = ", ".join(one.name for one in about.space.dimensions if one.key.startswith("execution."))
    if assumed:
        out.append(f"{assumed}: an assumption about the exchange, not a choice; the best takes the most flattering one")
    return tuple(out)


def verdict(study: Study) -> str:
    """Return what came of a study: the best, its odds of being luck, and the warnings."""
    if not study.complete:
        return "; ".join(study.warnings)
    pruned = len(study.trials) - len(study.complete)
    among = f"{len(study.trials):,} trials" + (f" ({pruned:,} given up early)" if pruned else "")
    lines = [f"best of {among}, out of sample: {study.best.trial.words}, {study.best.score.text}"]
    odds = (study.luck(), study.deflated_sharpe(), study.overfitting)
    lines += [f"  {one.words}" for one in odds if one is not None]
    return "\n".join([*lines, *(f"  warning: {text}" for text in study.warnings)])


def as_text(study: Study) -> str:
    """Return a study as text: what was asked, its verdict, and the first rows of its table."""
    lines = [_heading(study), *_spans(study), study.verdict]
    names, rows = _shown(study)
    if rows:
        widths = [max(len(line[at]) for line in [names, *rows]) for at in range(len(names))]
        lines += ["  ".join(map(str.rjust, line, widths)) for line in [names, *rows]]
    return "\n".join(lines)


def as_html(study: Study) -> str:
    """Return the same as HTML."""
    names, rows = _shown(study)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in row)}</tr>" for row in rows)
    said = "".join(f"<p>{html.escape(line)}</p>" for line in (*_spans(study), *study.verdict.splitlines()))
    return f"<p><b>{html.escape(_heading(study))}</b></p>{said}<table><tr>{head}</tr>{body}</table>"


def as_json(study: Study) -> dict[str, Any]:
    """Return a study as JSON types: what was asked, the picks with their odds, and every trial."""
    luck = study.luck() if study.complete else None
    picks = {"best": study.best, "stable_region": study.stable_region} if study.complete else {}
    left = None if luck is None else {"value": luck.shrunk.value, "low": luck.shrunk.low, "high": luck.shrunk.high}
    return {
        **study.about.to_json(),
        "windows_ns": {name: list(span) for name, span in study.windows_ns.items()},
        "interrupted": study.interrupted,
        "done": len(study.trials),
        "complete": len(study.complete),
        "verdict": study.verdict,
        "warnings": list(study.warnings),
        "luck": None if luck is None else {"odds": luck.odds, "shrunk_per_hour": left},
        **{name: _pick_json(pick) for name, pick in picks.items()},
        "trials_table": study.table.to_dicts(),
    }


def _pick_json(pick: Pick) -> dict[str, Any]:
    return {
        "trial": pick.trial.number,
        "net_per_hour": pick.score.per_hour,
        "low": pick.score.low,
        "high": pick.score.high,
        "fragile": pick.fragile,
        "words": pick.words,
        "config": pick.config.to_json(),
    }


def _heading(study: Study) -> str:
    about = study.about
    done, wanted = f"{len(study.trials):,} trials", ", ".join(about.objectives)
    return f"{about.market}: {done} ({about.design}, seed {about.seed}) for {wanted}, {about.space}"


def _spans(study: Study) -> list[str]:
    spans = study.windows_ns
    return [f"{name:<6}{utc(spans[name][0])} to {utc(spans[name][1])} UTC" for name in ("test", "train")]


def _shown(study: Study) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the short table: complete trials only."""
    parameters = study.about.space.names
    names = ["trial", *parameters, "test/h", "90 %", "train/h", "trips", "fees", "inventory", "drawdown"]
    digits = money_digits(*study.per_hour()) if study.complete else 2

    def money(value: float) -> str:
        return f"{value:+,.{digits}f}"

    rows = []
    for row in study.top().iter_rows(named=True):
        if row["net_per_hour_test"] is None:
            continue
        low, high = row["low_test"], row["high_test"]
        rows.append(
            [
                str(row["trial"]),
                *(f"{value:g}" if isinstance(value, float) else str(value) for value in map(row.get, parameters)),
                money(row["net_per_hour_test"]),
                "-" if low is None else f"[{money(low)}, {money(high)}]",
                money(row["net_per_hour_train"]),
                str(row["round_trips_test"]),
                f"{row['fees_test']:.{digits}f}",
                f"{row['inventory_p95_test']:g}",
                f"{row['drawdown_test']:.{digits}f}",
            ]
        )
    return names, rows
