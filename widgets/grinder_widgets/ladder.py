"""The ladder as the router sees it: levels, open orders, and what is done about each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grinder_widgets.figures import new_figure
from grinder_widgets.theme import LIGHT, Palette

if TYPE_CHECKING:
    import polars as pl

_DONE = {
    "NOOP": "stays",
    "PLACE": "new",
    "AMEND": "amended",
    "CANCEL_REPLACE": "cancelled and placed again",
    "CANCEL": "cancelled",
    "BLOCK": "waits",
}


def decisions(frame: pl.DataFrame, *, mid: float | None = None, theme: Palette = LIGHT) -> Any:
    """Return where orders are and where they will be, a row each: hollow marks are the orders of now, full ones the levels.

    Parameters
    ----------
    frame : DataFrame
        What `gk.explain` returned.
    mid : float, optional
        Mid of the market, drawn as a dashed line.
    theme : Palette
    """
    rows = frame.sort(frame["price"].fill_null(frame["order_price"]), descending=False)
    names = [f"{r['level_id']}  {_DONE[r['action']]}" for r in rows.iter_rows(named=True)]
    cost, weight = int(frame["requests"].sum()), int(frame["weight"].sum())
    lost = int(frame["queue_lost"].sum())
    figure = new_figure(
        theme,
        "What the router does, and why",
        f"{cost} requests (weight {weight}) without batches; {lost} orders give up their place in the queue",
        height=110 + 34 * max(4, len(names)),
    )
    for i, row in enumerate(rows.iter_rows(named=True)):
        old, new = row["order_price"], row["price"]
        if old is not None and new is not None and old != new and row["action"] in ("AMEND", "CANCEL_REPLACE"):
            figure.add_scatter(
                x=[float(old), float(new)], y=[i, i], mode="lines", hoverinfo="skip", showlegend=False,
                line={"color": theme.muted, "width": 2, "dash": "solid" if row["action"] == "AMEND" else "dot"},
            )  # fmt: skip
    for side, colour, symbol in (("BUY", theme.buy, "triangle-up"), ("SELL", theme.sell, "triangle-down")):
        picked = [(i, r) for i, r in enumerate(rows.iter_rows(named=True)) if r["side"] == side]
        for name, column, size, hollow in (
            (f"{side.lower()} order now", "order_price", "order_size", True),
            (f"{side.lower()} level wanted", "price", "size", False),
        ):
            shown = [(i, r) for i, r in picked if r[column] is not None]
            figure.add_scatter(
                x=[float(r[column]) for _, r in shown], y=[i for i, _ in shown], mode="markers", name=name,
                marker={
                    "symbol": f"{symbol}-open" if hollow else symbol, "color": colour, "size": 15 if hollow else 9,
                    "line": {"width": 2, "color": colour},
                },
                customdata=[[r["action"], r["why"], str(r[size]), _queue(r)] for _, r in shown],
                hovertemplate="%{x:,} for %{customdata[2]}<br>%{customdata[0]}: %{customdata[1]}%{customdata[3]}",
            )  # fmt: skip
    if mid is not None:
        figure.add_scatter(
            x=[mid, mid], y=[-0.6, len(names) - 0.4], mode="lines", name="mid", hovertemplate="mid %{x:,}",
            line={"color": theme.text, "dash": "dash", "width": 1},
        )  # fmt: skip
    figure.update_xaxes(title_text="price, quote", tickformat=",~f")
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[-0.6, len(names) - 0.4], title_text="", zeroline=False
    )
    return figure


def _queue(row: dict[str, Any]) -> str:
    if row["queue_ahead"] is None:
        return ""
    ahead = f"{row['queue_ahead']:f} ahead of it"
    return f"<br>{ahead}; it goes to the back" if row["queue_lost"] else f"<br>{ahead}"
