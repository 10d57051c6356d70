"""The recording on disk: its columns, its metadata key and its version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from grinder_kit.model.market import EventKind, EventSide

SCHEMA_VERSION = 1
METADATA_KEY = "grinder"

KIND = pl.Enum([kind.value for kind in EventKind])
SIDE = pl.Enum([side.value for side in EventSide])
#: Columns of a recording. `exchange_ns` and `local_ns` ns UTC, `local_ns` as recorded; `seq` is shared by the rows of one
#: message; `price` ticks, `quantity` lots; `id` final update id (depth, bbo), trade id, lastUpdateId (snapshot), first
#: missing id (gap).
_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "exchange_ns": pl.Int64,
    "local_ns": pl.Int64,
    "seq": pl.Int64,
    "kind": KIND,
    "side": SIDE,
    "price": pl.Int64,
    "quantity": pl.Int64,
    "id": pl.Int64,
}
COLUMNS = pl.Schema(_COLUMNS)
FUNDING_COLUMNS = pl.Schema({"ts_ns": pl.Int64, "rate": pl.Float64, "mark": pl.Int64})

_KINDS = pl.Series("kind", KIND.categories, dtype=KIND)
_SIDES = pl.Series("side", SIDE.categories, dtype=SIDE)


def frame(
    *,
    exchange_ns: npt.NDArray[np.int64],
    local_ns: npt.NDArray[np.int64],
    seq: npt.NDArray[np.int64],
    kind: npt.NDArray[np.int8],
    side: npt.NDArray[np.int8],
    price: npt.NDArray[np.int64],
    quantity: npt.NDArray[np.int64],
    id: npt.NDArray[np.int64],
) -> pl.DataFrame:
    """Return rows as a frame; `kind` and `side` are positions in EventKind and EventSide, all shapes (n_rows,)."""
    return pl.DataFrame(
        {
            "exchange_ns": exchange_ns,
            "local_ns": local_ns,
            "seq": seq,
            "kind": _KINDS.gather(kind.astype(np.uint32)),
            "side": _SIDES.gather(side.astype(np.uint32)),
            "price": price,
            "quantity": quantity,
            "id": id,
        }
    )


def funding_path(path: Path) -> Path:
    """Return where the funding table of a recording lies: beside it."""
    return path.with_name(f"{path.stem}.funding.parquet")
