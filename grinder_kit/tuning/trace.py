"""What a run did, order by order and fill by fill, in a file beside its configuration: so that the first difference can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from grinder_kit.execution.journal_words import utc
from grinder_kit.model.number import plain
from grinder_kit.model.whole_file import draft
from grinder_kit.simulation.result import Result

_DIGEST = "grinder_digest"  # key of the file's metadata
_WHAT = pl.Enum(["order", "fill"])
_IDENTITY = ("ts_ns", "what", "client_order_id", "side")


def trace(result: Result) -> pl.DataFrame:
    """Return orders by when they were sent and fills by when they happened, in the order of that time.

    `ended` is when an order ended (ns UTC), `state` what it was then; of a fill it says maker or taker.
    """
    orders = result.orders.select(
        pl.col("sent_ns").alias("ts_ns"),
        pl.lit("order", _WHAT).alias("what"),
        "client_order_id",
        "level_id",
        "side",
        "price",
        "quantity",
        "filled",
        "state",
        "ended_ns",
    )
    fills = result.fills.select(
        "ts_ns",
        pl.lit("fill", _WHAT).alias("what"),
        "client_order_id",
        "level_id",
        "side",
        "price",
        "quantity",
        pl.lit(None, orders.schema["filled"]).alias("filled"),
        pl.when("is_maker").then(pl.lit("maker")).otherwise(pl.lit("taker")).alias("state"),
        pl.lit(None, pl.Int64).alias("ended_ns"),
    )
    return pl.concat([orders, fills]).sort("ts_ns", "what", "client_order_id", maintain_order=True)


def trace_path(file: Path) -> Path:
    """Return where the trace of a configuration file lies."""
    return file.with_name(f"{file.stem}.trace.parquet")


def save_trace(result: Result, file: Path) -> None:
    """Write the trace of a run, with its digest, so that no other run is ever compared with it."""
    with draft(file) as part:
        trace(result).write_parquet(part, metadata={_DIGEST: result.digest})


def read_trace(file: Path, digest: str) -> pl.DataFrame | None:
    """Return the trace of the run with this digest; None where there is no such file, or it is of another run."""
    try:
        found = pl.read_parquet_metadata(file).get(_DIGEST)
        return pl.read_parquet(file) if found == digest else None
    except (OSError, pl.exceptions.PolarsError):
        return None


def first_difference(expected: pl.DataFrame, found: pl.DataFrame) -> str | None:
    """Say the first order or fill in which two traces differ, None where they are equal."""
    common = min(len(expected), len(found))
    old, new = expected.head(common), found.head(common)
    differs = pl.select(pl.any_horizontal([old[name].ne_missing(new[name]) for name in old.columns]))
    at = differs.to_series().arg_max() if common else None
    if at is not None and differs.item(at, 0):
        return _between(old.row(at, named=True), new.row(at, named=True))
    if len(expected) != len(found):
        row = (expected if len(expected) > common else found).row(common, named=True)
        return f"{_words(row)}: {'expected, and missing' if len(expected) > common else 'not expected'}"
    return None


def _between(old: dict[str, Any], new: dict[str, Any]) -> str:
    if any(old[name] != new[name] for name in _IDENTITY):
        return f"expected {_words(old)}; found {_words(new)}"
    changes = [f"{name} {_shown(old[name])} -> {_shown(new[name])}" for name in old if old[name] != new[name]]
    return f"{_words(old)}: {', '.join(changes)}"


def _words(row: dict[str, Any]) -> str:
    return (
        f"{row['what']} {row['side']} {plain(row['quantity'])} at {row['price']:,f}, {utc(row['ts_ns'])} UTC "
        f"[{row['client_order_id']}]"
    )


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
