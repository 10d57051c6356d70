"""What a grid tuner says in words and tables: header, numbers, pins, lines to copy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grinder_kit.model.config import Config
from grinder_kit.simulation.verdict import BLOCK_S
from grinder_kit.tuning.pick import Score
from grinder_kit.tuning.space import told, word
from grinder_kit.tuning.study import Study
from grinder_widgets.markup import Figure, escape, table
from grinder_widgets.theme import MISSING, interval, money, money_digits, number, utc
from grinder_widgets.tuner_state import LETTERS, RULES, label
from grinder_widgets.tuner_view import Compared, Map, Picked, Tried, Tuned

QUESTION = "Which grid earns after fees, would it have earned later, and what do I give up?"
TABLE_ROWS = 20


def coming(storage: Path) -> str:
    """Return what stands where a study will be, as HTML."""
    where = f"The study runs in a process of its own and is kept in {storage.name}; what comes of it appears here."
    return f'<p><b>{escape(QUESTION)}</b></p><p class="gk-note">{escape(where)}</p>'


def missing(study: object, storage: Path | None = None) -> str:
    """Return what a tuner without a study lacks, as HTML."""
    lines = (
        "market = gk.synthetic_market(seed=7, minutes=20)", 'grid = gk.GridConfig(spacing_bps=8, levels=10, size="0.002")',
        "study = gk.tune(market, grid, gk.Space(spacing_bps=(2, 40), levels=(3, 20)))", "gw.GridTuner(study)",
    )  # fmt: skip
    code = "".join(f"<div><code>{escape(line)}</code></div>" for line in lines)
    lacks = "a study"
    if storage is not None:
        lacks = f"a study that has come to something ({storage.name})"
    elif isinstance(study, Study):
        lacks = "a trial that saw both parts: " + "; ".join(study.warnings)
    return f'<p><b>{escape(QUESTION)}</b></p><p class="gk-note">Missing: {escape(lacks)}.</p>{code}'


def header(study: Study) -> str:
    """Return what the study is: trials, parts, objective."""
    about = study.about
    pruned = len(study.trials) - len(study.complete)
    trials = f"{len(study.trials):,} trials" + (f" ({pruned:,} given up early)" if pruned else "")
    if study.interrupted:
        trials += f" of {about.trials:,}, stopped"
    start, end = (utc(ts, ms=False) for ts in study.windows_ns["test"])
    return (
        f"{about.instrument.symbol} · {trials} · trained on the first {100 * (1 - about.test):.0f} %, judged on {start} to {end} · "
        f"objective {', '.join(about.objectives)}"
    )


def score(one: Score, *, about: bool = False) -> Figure:
    """Return profit an hour with its interval, and whether it can be told from nothing."""
    digits = money_digits(one.per_hour, one.low, one.high)
    mark = "~" if about else ""
    value = f"{mark}{number(one.per_hour, digits, sign=True)} {one.asset}"
    if one.low is None or one.high is None:
        return Figure("net/h, test", value, f"moved in {one.moved} of {one.blocks} blocks: too few for an interval")
    verdict = "not distinguishable from zero" if not one.distinguishable else "earns" if one.low > 0 else "loses"
    value = f"{mark}{number(one.per_hour, digits, sign=True)} {interval(one.low, one.high, digits)} {one.asset}"
    return Figure("net/h, test", value, f"{verdict} ({one.blocks} blocks of {one.block_s:g} s)")


def picked(found: Picked | None, study: Study) -> tuple[Figure, ...]:
    """Return the pick, what it earned, and what is left of that."""
    if found is None:
        return (Figure("pick", MISSING, "the rule is none"),)
    pick, luck = found.pick, found.luck
    shrunk = Figure(f"after the search of {len(study.trials):,}", MISSING, "too few blocks to judge it")
    if luck is not None and luck.shrunk.low is not None and luck.shrunk.high is not None and luck.odds is not None:
        left = luck.shrunk
        digits = money_digits(left.value, left.low, left.high)
        odds = "less than 1 %" if luck.odds < 0.01 else f"{100 * luck.odds:.0f} %"
        shrunk = Figure(
            f"after the search of {len(study.trials):,}",
            f"{number(left.value, digits, sign=True)} {interval(left.low, left.high, digits)} {study.asset}",
            f"{'distinguishable' if luck.distinguishable else 'not distinguishable'} from zero; luck looks as good in {odds}",
        )  # fmt: skip
    around = pick.around
    word_, _, rest = around.words.partition(": ")
    return (
        Figure(f"pick: {RULES[pick.rule]}", told_short(dict(pick.trial.parameters)), f"trial {pick.trial.number}"),
        score(pick.score),
        Figure("net/h, train", money(found.train.net_per_hour, study.asset), "in sample: what it was chosen by"),
        shrunk,
        Figure("around it", word_ if rest else "alone", rest or around.words),
    )


def what_if(tried: Tried, study: Study) -> tuple[Figure, ...]:
    """Return what is known of what is tried."""
    outcome, asset = tried.outcome, study.asset
    about = tried.instead is not None
    mark = "~" if about else ""
    digits = money_digits(outcome.net, outcome.fees, outcome.drawdown)
    name = "what if" if tried.instead is None else f"nearest trial, {tried.instead.number}"
    trips = outcome.round_trips / outcome.hours
    instrument = study.market.instrument
    return (
        score(tried.score, about=about)._replace(name=f"{name}: net/h, test"),
        Figure("round trips/h", f"{mark}{number(trips, 1)}", f"{outcome.fills:,} fills, {outcome.orders:,} orders"),
        Figure("maker fees", f"{mark}{money(-outcome.fees, asset, digits)}", f"funding {money(outcome.funding, asset, digits)}"),
        Figure("drawdown", f"{mark}{number(outcome.drawdown, digits)} {asset}", "largest fall of equity"),
        Figure("inventory", f"{mark}{number(outcome.inventory_p95, 4)}", f"{instrument.base}, exceeded 5 % of the time"),
    )  # fmt: skip


def told_short(values: dict[str, Any]) -> str:
    """Return parameters as people read them beside controls: ``spacing, bps 8 · levels 10``."""
    return " · ".join(f"{label(name)} {word(value)}" for name, value in values.items())


def pin_label(at: int, names: Sequence[str], values: dict[str, Any]) -> str:
    """Return how a pin is called: its letter, and its parameters."""
    return f"{LETTERS[at]} {' / '.join(word(values[name]) for name in names)}"


def warnings(study: Study) -> str:
    """Return what a reader must know, as HTML."""
    lines = "".join(f"<li>{escape(text)}</li>" for text in study.warnings)
    return f'<ul class="gk-note">{lines}</ul>' if lines else ""


# --- tables ------------------------------------------------------------------------------------------------------------


def trials_table(tuned: Tuned) -> str:
    """Return the first trials by the lower end on the test part: test first, train beside it."""
    study = tuned.study
    rows = study.top(TABLE_ROWS).iter_rows(named=True)
    names = list(tuned.dimensions)
    columns = [("trial", ""), *((label(name), "") for name in names), ("net/h, test", ""), ("90 %", ""), ("net/h, train", ""),
               ("round trips", ""), ("fees", ""), ("inventory", ""), ("drawdown", "")]  # fmt: skip
    digits = money_digits(*study.per_hour())
    cells = [
        (row["trial"], *(word(row[name]) for name in names), number(row["net_per_hour_test"], digits, sign=True),
         interval(row["low_test"], row["high_test"], digits), number(row["net_per_hour_train"], digits, sign=True),
         f"{row['round_trips_test']:,}", number(row["fees_test"], digits), f"{row['inventory_p95_test']:g}",
         number(row["drawdown_test"], digits))
        for row in rows if row["net_per_hour_test"] is not None
    ]  # fmt: skip
    return table(columns, cells, of=len(study.complete))


def map_table(view: Map) -> str:
    """Return the map's numbers."""

    def place(one: Any, at: float) -> str:
        return word(one.choices[int(at)]) if one.choices else f"{at:.3g}"

    head = "" if view.y is None else f"{label(view.y.name)} ↓ "
    columns = [(f"{head}{label(view.x.name)} →", "")] + [(place(view.x, at), "") for at in view.x_at]
    rows = [
        ("" if view.y is None else place(view.y, view.y_at[row]), *(number(float(value), 2, sign=True) for value in view.value[row]))
        for row in range(len(view.y_at) - 1, -1, -1)
    ]  # fmt: skip
    return table(columns, rows)


def compared_table(view: Compared) -> str:
    """Return the pins' parts, their sum, and what each earns more than the first."""
    digits = money_digits(*(one.equity for one in view.runs))
    columns = [("pin", "words"), ("net", ""), ("grid", ""), ("trend", ""), ("fees", ""), ("funding", ""), ("less A, an hour", ""),
               ("90 %", ""), ("", "words")]  # fmt: skip
    rows = []
    for name, one, less in zip(view.labels, view.runs, view.less_first, strict=True):
        values = (number(value, digits, sign=True) for value in (one.equity, *one.parts.values()))
        if less is None:
            rows.append((name, *values, "", "", ""))
            continue
        said = (
            "not distinguishable from A" if not less.distinguishable else "better" if (less.low or 0) > 0 else "worse"
        )
        rows.append(
            (name, *values, number(less.per_hour, digits, sign=True), interval(less.low, less.high, digits), said)
        )
    blocks = (
        f"{view.less_first[1].blocks} blocks of {view.block_s:g} s" if len(view.runs) > 1 and view.less_first[1] else ""
    )
    note = f'<p class="note">{escape(view.asset)}; grid + trend + fees + funding is net, exactly. {escape(blocks)}</p>'
    return table(columns, rows) + note


# --- lines to copy -----------------------------------------------------------------------------------------------------


def market_line(study: Study) -> str:
    """Return how the market is opened, as Python."""
    name = study.market.describe().get("opens_as")
    return "...  # put your own market here" if name is None else f"open_market({str(name)!r})"


def base_line(config: Config) -> str:
    """Return what a study does not vary, as Python: the grid, and of the other sections what is not as by default."""
    mine, new = (json.loads(one.canonical()) for one in (config, Config(grid=config.grid)))
    others = {
        section: changed
        for section, keys in mine.items()
        if isinstance(keys, dict) and section not in ("grid", "fill_model")
        if (changed := {key: value for key, value in keys.items() if (new.get(section) or {}).get(key) != value})
    }
    grid = f"gk.{config.grid!r}"
    return f"gk.Config(grid={grid}, **{others!r})" if others else grid


def as_python(study: Study, tried: Tried, state: dict[str, object]) -> str:
    """Return lines that show this tuner again, with what the study was made on."""
    about = study.about
    start, end = (utc(ts, date=True) for ts in study.windows_ns["test"])
    comments = [
        f"market: {about.market}", f"sha256: {about.recording}", f"judged on {start} to {end}, {about.trials:,} trials, seed {about.seed}",
        f"what if: {told(tried.values)}",
    ]  # fmt: skip
    # A name from outside must not become code.
    lines = ["# " + "".join(letter for letter in line if letter.isprintable()) for line in comments]
    lines += [
        "import grinder_kit as gk",
        "import grinder_widgets as gw",
        "from grinder_kit.market.naming import open_market",
        "",
        f"market = {market_line(study)}",
    ]
    given = f", state={state!r}" if state else ""
    if study.storage is not None:
        lines += [f"study = gk.Study.open({str(study.storage)!r}, market)"]
    else:
        objectives = (
            about.objectives[0].value if len(about.objectives) == 1 else tuple(one.value for one in about.objectives)
        )
        model = "" if about.base.fill_model is None else "  # model=..., your own"
        block = "" if about.block_s == BLOCK_S else f", block_s={about.block_s:g}"
        lines += [
            f"base = {base_line(about.base)}",
            f"space = gk.{about.space!r}",
            f"study = gk.tune(market, base, space, trials={about.trials}, objective={objectives!r}, seed={about.seed}, "
            f"design={about.design.value!r}, test={about.test:g}, purge_s={about.purge_s:g}{block}, prune={about.prune}){model}",
        ]
    return "\n".join([*lines, f"gw.GridTuner(study{given})"])


def exported(path: Path, config: Config) -> str:
    """Return what was written, as HTML: path, digest, window, and how it is run."""
    known = config.provenance
    rows = (
        ("written", str(path)), ("digest", known.digest or MISSING), ("data window", known.window_utc or MISSING),
        ("score", known.score_text or MISSING), ("run it", f"grinder run {path}"), ("check it", f"grinder verify {path} --data ..."),
    )  # fmt: skip
    cells = "".join(f"<tr><th>{escape(what)}</th><td><code>{escape(value)}</code></td></tr>" for what, value in rows)
    return f'<div class="gk-detail"><table>{cells}</table></div>'
