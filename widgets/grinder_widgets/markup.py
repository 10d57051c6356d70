"""Pieces of a page: sections, tables and figures as HTML, everything escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from grinder_widgets.theme import count


class Page:
    """The figures of one page: their places in the text, and their data at its end."""

    def __init__(self) -> None:
        self._figures: list[str] = []

    def figure(self, figure: Any, table: str = "", *, heading: bool = True) -> str:
        """Return the place of a figure with its title and subtitle as text, which wraps where SVG would be cut."""
        name = f"figure-{len(self._figures) + 1}"
        title, subtitle = figure.layout.title.text, figure.layout.title.subtitle.text or ""
        legend = figure.layout.showlegend is not False and any(trace.showlegend is not False for trace in figure.data)
        # As text they would be drawn twice.
        figure.update_layout(title={"text": "", "subtitle": {"text": ""}}, margin_t=40 if legend else 14)
        payload = figure.to_json().replace("<", "\\u003c")
        self._figures.append(f'<script type="application/json" data-figure="{name}">{payload}</script>\n')
        head = f"<h3>{escape(title)}</h3>" if heading else ""
        label = escape(f"{title}. {subtitle}")
        details = f"<details><summary>Table</summary>{table}</details>" if table else ""
        return (
            f"<figure>{head}<figcaption>{escape(subtitle)}</figcaption>"
            f'<div class="plot" id="{name}" role="img" aria-label="{label}" style="min-height:{figure.layout.height}px"></div>'
            f"{details}</figure>"
        )

    def payload(self) -> str:
        """Return the data of all figures, as scripts that the page reads."""
        return "".join(self._figures)


def section(name: str, title: str, body: str) -> str:
    """Return a section with its heading; `body` is HTML."""
    return f'<section id="{name}"><h2>{escape(title)}</h2>{body}</section>\n'


class Mark(NamedTuple):
    """A cell of a table with a look of its own."""

    text: str
    look: str

    def __str__(self) -> str:
        return self.text


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[object]], *, of: int | None = None) -> str:
    """Return a table; `of` rows exist, and the caption says when fewer are here."""
    rows = list(rows)
    head = "".join(f'<th scope="col" class="{look}">{escape(name)}</th>' for name, look in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{look}{f" {cell.look}" if isinstance(cell, Mark) else ""}">{escape(cell)}</td>'
            for (_, look), cell in zip(columns, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    some = f'<p class="note">{len(rows):,} of {count(of)} rows</p>' if of is not None and of > len(rows) else ""
    return f'{some}<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


class Figure(NamedTuple):
    """A number of a headline: what it is, the number, and why or of what."""

    name: str
    value: str
    note: str = ""


def headline(shown: Iterable[Figure]) -> str:
    """Return numbers in a row."""
    cells = "".join(
        f"<div><span>{escape(one.name)}</span><b>{escape(one.value)}</b><span>{escape(one.note)}&nbsp;</span></div>"
        for one in shown
    )
    return f'<div class="gk-headline">{cells}</div>'


def escape(value: object) -> str:
    """Return a value as text that HTML shows as it is."""
    return html.escape(str(value))


def as_json(value: Any) -> str:
    """Return a value as JSON that cannot end the script it stands in."""
    return json.dumps(value).replace("<", "\\u003c")
