"""What a fill explorer says in words and tables: header, notes beside the controls, lines to copy."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal

import numpy as np

from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.label_options import LabelOptions
from grinder_kit.fillprob.labels import LabelSet
from grinder_kit.fillprob.queue_band import QueueBand
from grinder_kit.fillprob.training import Training
from grinder_widgets.explorer_evidence import (
    BLOCK_S,
    DISTANCE_APART_BPS,
    DISTANCE_SHARE,
    FEWEST_ORDERS,
    IMBALANCE_APART,
    QUEUE_FACTOR,
    SIGMA_FACTOR,
    Evidence,
    Shares,
)
from grinder_widgets.explorer_figures import OUTSIDE
from grinder_widgets.explorer_models import HEURISTIC, Chances, Explored, training_of
from grinder_widgets.explorer_state import HORIZONS_S, QUEUE_WORDS
from grinder_widgets.explorer_view import Answer, Calibration, Curve, Map, Time
from grinder_widgets.markup import Figure, escape, table
from grinder_widgets.theme import MISSING, bps, number, probability, utc
from grinder_widgets.theme import interval as spread

QUESTION = "How likely is this order to fill in time, and how far can I trust the number?"
#: What makes an order like the one asked about.
LIKE = (
    f"Observed: orders of the same side whose volatility is within a factor {SIGMA_FACTOR:g} of yours and whose imbalance within "
    f"{IMBALANCE_APART:g}; at the touch the queue within a factor {QUEUE_FACTOR:g}, elsewhere the distance within "
    f"{DISTANCE_APART_BPS:g} bps or {DISTANCE_SHARE:.0%}. Shares need {FEWEST_ORDERS} orders; intervals resample blocks of at "
    f"least {BLOCK_S:g} s."
)
SCORED = (
    "Orders within three standard deviations of mid, watched to the horizon. Less is better for log loss, Brier and ECE, more for "
    "RCLL, which covers all horizons. A tie is within .005 of the best."
)
OWN_DATA = "Scored on its own training data: not shown. Pass a later market."
FITTED_BEFORE = "The models stay as they were fitted; what is observed, and the scores, follow size and latency."
NO_MARKET = "These labels hold nothing else: pass the market instead of its labels to change size and latency."
_ROWS = 13


def missing(model: object, data: object) -> str:
    """Return what an explorer without a model or without data lacks, as HTML."""
    lacks = [word for word, given in (("a fitted model", model), ("labels of a market", data)) if given is None]
    lines = (
        "labels = gk.label(gk.synthetic_market(seed=7, minutes=20))", "train, test = labels.split(0.6)",
        "gw.FillExplorer(gk.FirstPassageModel().fit(train), test)",
    )  # fmt: skip
    code = "".join(f"<div><code>{escape(line)}</code></div>" for line in lines)
    return f'<p><b>{escape(QUESTION)}</b></p><p class="gk-note">Missing: {escape(" and ".join(lacks))}.</p>{code}'


def header(name: str, model: Explored, evidence: Evidence) -> str:
    """Return what is shown: instrument, which part of which time, and the model."""
    labels, training = evidence.labels, training_of(model, evidence.queue)
    start, end = (utc(ts, ms=False).removesuffix(" UTC") for ts in labels.window_ns)
    part = "labels"
    if training is not None and (training.venue, training.symbol) == (labels.instrument.venue, labels.symbol):
        part = "test part" if evidence.unseen else "its own training data"
    return f"{labels.symbol} · {part} {start}–{end} UTC · model {name.replace('_', ' ')} ({trained(training, labels)})"


def trained(training: Training | None, labels: LabelSet) -> str:
    """Return on what a model was fitted, in view of the labels."""
    if training is None:
        return "never fitted"
    same = (training.venue, training.symbol) == (labels.instrument.venue, labels.symbol)
    return "own data" if same else f"data of {training.symbol}"


def numbers(said: Answer) -> tuple[Figure, ...]:
    """Return the numbers of the header."""
    return (
        Figure("P(fill)", interval(said.chance), OUTSIDE.split(": ")[1] if said.beyond else ""),
        Figure("heuristic", probability(said.heuristic)),
        observed(said.observed),
        expected_value(said),
    )


def interval(chance: Chances, at: int = 0) -> str:
    """Return a probability with its interval, such as ``.43 [.38, .49]``."""
    text = probability(float(chance.middle[at]))
    if chance.low is None or chance.high is None:
        return text
    return f"{text} [{probability(float(chance.low[at]))}, {probability(float(chance.high[at]))}]"


def observed(shares: Shares) -> Figure:
    """Return the observed share of orders like this one, with how many there were."""
    orders = int(shares.orders[0])
    if orders < FEWEST_ORDERS:
        return Figure("observed", MISSING, f"too few cases (n {orders})")
    text = probability(float(shares.share[0]))
    if np.isfinite(shares.low[0]):
        text += f" [{probability(float(shares.low[0]))}, {probability(float(shares.high[0]))}]"
    return Figure("observed", text, f"n {orders:,}")


def expected_value(said: Answer) -> Figure:
    """Return what the order is worth, bps of its notional, and whether that can be told from nothing."""
    worth = said.worth_bps
    if worth is None:
        return Figure("EV", MISSING, said.unvalued)
    if worth.low is None or worth.high is None:
        return Figure("EV", bps(worth.value), "no interval: this model gives none")
    ends = spread(worth.low, worth.high, 1)
    return Figure(
        "EV",
        f"{number(worth.value, 1, sign=True)} {ends} bps",
        "" if worth.distinguishable else "not distinguishable from zero",
    )


def how_to_read(evidence: Evidence) -> tuple[str, ...]:
    """Return what makes an order like the one asked about, and what its value is made of."""
    if evidence.markout is None:
        return (LIKE,)
    value = (
        f"EV: P(fill) × (markout − maker fee of {evidence.fee_bps:g} bps), in bps of the order's notional. The markout is how far mid "
        f"has gone in the order's favour {evidence.markout.horizon_s} s after a fill, fitted on the {evidence.markout.fills:,} orders "
        "here that filled behind their queue (power 2)."
    )
    return LIKE, value


def notes(said: Answer) -> dict[str, str]:
    """Return what stands beside each control, by the name of the input; a control that the model ignores says so."""
    asked = said.asked
    found = {
        "distance_bps": f"at the touch, {asked.distance_bps:.2f} bps from mid" if asked.at_touch else "",
        "sigma": f"NATR {asked.natr_bps:.0f} bps",
        "queue_s": "",
        "imb_own": "own side heavier" if asked.imb_own > 0 else "own side lighter" if asked.imb_own < 0 else "balanced",
        "ofi_z": "buyers press" if asked.ofi_z > 0 else "sellers press" if asked.ofi_z < 0 else "",
    }
    for name in said.ignored:
        if name == "queue_s" and not asked.at_touch:
            word = "acts only at the touch"
        elif name not in said.ignored_by_heuristic and said.model != HEURISTIC.name:
            word = "moves only the heuristic"
        else:
            word = "this model ignores it"
        found[name] = f"{found[name]}; {word}" if name == "sigma" else word
    return found


def labels_title(labels: LabelSet, size: Decimal, queue: str) -> str:
    """Return which hypothetical orders the labels are, in one line."""
    return (
        f"Labels: size {size.normalize():f} {labels.instrument.quote} · latency {labels.options.latency_ms:g} ms · "
        f"queue {QUEUE_WORDS[queue]}"
    )


# --- tables ----------------------------------------------------------------------------------------------------------


def curve_table(view: Curve) -> str:
    """Return the curve's numbers: at the touch, and at the distances of the observed orders."""
    seen = view.observed
    touch = (_share(seen, 0), f"{seen.orders[0]:,}") if view.touch_seen else (MISSING, "")
    rows = [(f"touch, {view.touch_bps:.2f}", interval(view.touch), probability(float(view.heuristic[0])), *touch)]
    for at in range(int(view.touch_seen), len(seen.orders)):
        distance = seen.distance_bps[at]
        if distance <= view.end_bps:
            near = int(np.argmin(np.abs(view.distance_bps - distance)))
            rows.append((
                f"{distance:.2f}", interval(view.chance, near), probability(float(view.heuristic[near])), _share(seen, at),
                f"{seen.orders[at]:,}",
            ))  # fmt: skip
    if not len(seen.orders):
        step = max(1, len(view.distance_bps) // _ROWS)
        rows += [
            (
                f"{view.distance_bps[at]:.2f}",
                interval(view.chance, at),
                probability(float(view.heuristic[at])),
                MISSING,
                "",
            )
            for at in range(step, len(view.distance_bps), step)
        ]
    columns = [("distance, bps", ""), ("model", ""), ("heuristic", ""), ("observed", ""), ("n", "")]
    queues = [(QUEUE_WORDS[name], probability(value), whose) for name, value, whose in view.queues]
    return table(columns, rows) + table(
        [("queue model, at the touch", "words"), ("P(fill)", ""), ("by", "words")], queues
    )


def map_table(view: Map) -> str:
    """Return the map's numbers at the horizons that can be chosen."""
    places = [int(np.argmin(np.abs(np.log(view.horizon_s / h)))) for h in HORIZONS_S]
    step = max(1, len(view.distance_bps) // _ROWS)
    rows = [
        (f"{view.distance_bps[at]:.1f}", *(probability(float(view.chance[place, at])) for place in places),
         number(float(view.half_s[at]), 1) if view.half_s[at] <= HORIZONS_S[-1] else f"> {HORIZONS_S[-1]:g}")
        for at in range(0, len(view.distance_bps), step)
    ]  # fmt: skip
    heads = [(f"{view.horizon_s[place]:.2g} s", "") for place in places]
    return table([("distance, bps", ""), *heads, ("half filled by, s", "")], rows)


def time_table(view: Time) -> str:
    """Return the numbers of the curve over time at the horizons that can be chosen."""
    seen = view.observed
    enough = seen.orders >= FEWEST_ORDERS
    rows = []
    for horizon in HORIZONS_S:
        near = int(np.argmin(np.abs(np.log(view.time_s / horizon))))
        reached = int(np.searchsorted(seen.time_s, horizon, side="right")) - 1
        share = 0.0 if reached < 0 else float(seen.share[reached])
        rows.append(
            (f"{horizon:g}", interval(view.chance, near), probability(share) if enough else f"{MISSING} too few cases")
        )
    return table([("by, s", ""), ("model", ""), (f"observed (n {seen.orders:,})", "")], rows)


def bins_table(view: Calibration) -> str:
    """Return the bins of the reliability diagram."""
    rows = [
        (probability(row["predicted"]), f"{round(row['observed'] * row['orders']):,} of {row['orders']:,}",
         probability(row["observed"]),
         MISSING if row["low"] is None else f"[{probability(row['low'])}, {probability(row['high'])}]")
        for row in view.bins.iter_rows(named=True)
    ]  # fmt: skip
    return table([("predicted", ""), ("filled", ""), ("observed", ""), ("90 %", "")], rows)


def scores_table(view: Calibration) -> str:
    """Return the scores of all models at the horizon, and how to read them."""
    head, *rows = view.table
    scores = table(
        [(name, "words" if name == "model" else "") for name in head],
        [(row[0].replace("_", " "), *row[1:]) for row in rows],
    )
    return scores + f'<p class="note">{escape(SCORED)}</p>'


def _share(shares: Shares, at: int) -> str:
    text = probability(float(shares.share[at]))
    if not np.isfinite(shares.low[at]):
        return text
    return f"{text} [{probability(float(shares.low[at]))}, {probability(float(shares.high[at]))}]"


# --- lines to copy ---------------------------------------------------------------------------------------------------


def as_python(labels: LabelSet, models: dict[str, Explored], state: dict[str, object]) -> str:
    """Return lines that show this explorer again, with what its labels and models are."""
    start, end = (utc(ts, date=True) for ts in labels.window_ns)
    about = [f"market: {labels.market.get('name', labels.symbol)}", f"labels: {start} to {end}, {len(labels):,} orders"]
    about += [f"sha256: {digest}" for digest in labels.source_sha256]
    for name, model in models.items():
        training = training_of(model)
        window = (
            "never fitted"
            if training is None
            else f"fitted on {' to '.join(utc(ts, date=True) for ts in training.window_ns)}"
        )
        about.append(f"model: {name}, {window}")
    # A name from outside must not become code.
    lines = ["# " + "".join(letter for letter in line if letter.isprintable()) for line in about]
    lines += ["import grinder_kit as gk", "import grinder_widgets as gw"]
    given = f", state={state!r}" if state else ""
    only = next(iter(models.values())) if len(models) == 1 else None
    training = None if only is None else training_of(only)
    fraction = _fraction(training, labels)
    is_band = isinstance(only, QueueBand)
    lines += ["", f"labels = gk.label({_market(labels)}, options={_options(labels.options)})"]
    if isinstance(only, FirstPassageModel) and training is None:
        return "\n".join([*lines, f"gw.FillExplorer(gk.FirstPassageModel(), labels{given})"])
    queue = "power" if training is None else training.queue
    fit = "gk.fit_queues(train)" if is_band else f"gk.FirstPassageModel().fit(train, {queue!r})"
    if fraction is None or not isinstance(only, FirstPassageModel | QueueBand):
        fit += "  # put your own models here"
    lines += [
        f"train, test = labels.split({fraction or 0.6!r})",
        f"model = {fit}",
        f"gw.FillExplorer(model, test{given})",
    ]
    return "\n".join(lines)


def _market(labels: LabelSet) -> str:
    about = labels.market
    if "seed" in about:
        return f"gk.synthetic_market(seed={int(about['seed'])}, minutes={float(about['minutes']):g})"
    return f"gk.Recording.open({str(about.get('name', labels.symbol))!r})"


def _options(options: LabelOptions) -> str:
    new = LabelOptions()
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    changed = {name: value for name, value in given.items() if value != getattr(new, name) and name != "execution"}
    if "sizes_quote" in changed:
        changed["sizes_quote"] = tuple(f"{size.normalize():f}" for size in options.sizes_quote)
    return f"gk.LabelOptions({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


def _fraction(training: Training | None, labels: LabelSet) -> float | None:
    """Return the split that gives this training and these later labels; None where none does."""
    if training is None:
        return None
    first, cut = training.window_ns
    last = labels.window_ns[1]
    if not first < cut < last:
        return None
    exact = (cut - first) / (last - first)
    return next((f for f in (round(exact, 2), round(exact, 4), exact) if first + int((last - first) * f) == cut), exact)
