"""The report: whole or not at all, offline, in its order, and readable wherever it is opened."""

from __future__ import annotations

import dataclasses
import json
import re
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import grinder_kit as gk
import grinder_widgets as gw
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.simulation.sensitivity import QUEUES, fill_sensitivity
from grinder_widgets import page
from tests.browser.chromium import running_chromium

ORDER = ["verdict", "assumptions", "money", "fills", "round-trips", "trust", "position", "refused", "origin"]


@pytest.fixture(scope="module")
def market() -> Any:
    """Return seven minutes of the synthetic market."""
    return gk.synthetic_market(seed=7, minutes=7)


@pytest.fixture(scope="module")
def config() -> gk.Config:
    """Return a grid that trades there."""
    grid = gk.GridConfig(spacing_bps=5, levels=5, size="0.002", position_limit="0.01", recentre_bps=10)
    return gk.Config(grid=grid)


@pytest.fixture(scope="module")
def result(market: Any, config: gk.Config) -> gk.Result:
    """Return its replay."""
    return gk.replay(market, config)


@pytest.fixture(scope="module")
def sensitivity(market: Any, config: gk.Config, result: gk.Result) -> Any:
    """Return the same replay under other queues."""
    return fill_sensitivity(market, config, known=result)


@pytest.fixture(scope="module")
def text(result: gk.Result, sensitivity: Any) -> str:
    """Return the page."""
    return page.render(result, sensitivity)


class Parts(HTMLParser):
    """Collect what a page loads, its sections, and what is left open."""

    VOID = ("meta", "br", "link", "img", "input")

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.sections: list[str] = []
        self.open: list[str] = []
        self.styles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        values = dict(attrs)
        self.loads += [
            f"{tag} {name}={values[name]}" for name in ("src", "href", "srcset", "data", "action") if name in values
        ]
        if tag == "section":
            self.sections.append(values["id"] or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the tag that is open."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the styles."""
        if self.open and self.open[-1] == "style":
            self.styles.append(data)


def parse(text: str) -> Parts:
    """Return the parts of a page."""
    parts = Parts()
    parts.feed(text)
    assert not parts.open
    return parts


def payloads(text: str) -> list[str]:
    """Return the figures' JSON."""
    return re.findall(r'<script type="application/json" data-figure="[^"]+">(.*?)</script>', text, re.DOTALL)


def test_sections_stand_in_the_readers_order(text: str) -> None:
    """Verdict first, configuration last; every tag is closed."""
    assert parse(text).sections == ORDER


def test_nothing_is_loaded_from_anywhere(text: str) -> None:
    """No element names a resource, no style imports one, and a policy makes the browser refuse any."""
    parts = parse(text)
    assert not parts.loads
    assert not re.search(r"@import|url\(|https?:", "".join(parts.styles))
    assert "default-src 'none'" in text.split("</head>")[0]
    outside = text
    for script in re.findall(r"<script.*?</script>", text, re.DOTALL):
        outside = outside.replace(script, "")
    assert "http" not in outside.replace("http-equiv", "")


def test_plotly_is_inlined_once_and_data_stay_small(text: str) -> None:
    """One copy of plotly.js, at most 3 MB of data."""
    assert text.count("* plotly.js v") == 1
    assert sum(map(len, payloads(text))) < 3_000_000
    assert len(payloads(text)) == 8
    assert all(json.loads(payload)["layout"]["uirevision"] == "grinder" for payload in payloads(text))


def test_page_says_what_the_result_says(text: str, result: gk.Result) -> None:
    """Verdict, assumptions, digest, seed and configuration are those of the result."""
    assert 'class="banner"' in text and "REPLAY" in text
    assert f"{result.verdict.per_hour:+,.2f}".replace("-", "−") in text
    assert all(page.escape(sentence) in text for sentence in result.assumptions)
    assert result.digest in text
    assert "<dt>seed</dt><dd>7</dd>" in text
    assert "spacing_bps = 5" in text
    assert f"<dd>{result.summary['trades']:,}<small>" in text


def test_every_figure_has_a_name_and_a_table(text: str) -> None:
    """Each figure can be read without seeing it: a label, and a real table behind it."""
    assert text.count('role="img" aria-label="') == 8 + 1  # and the interval of the verdict
    assert text.count("<details><summary>Table</summary>") == 8
    assert text.count("<table>") == 8


def test_report_is_whole_or_not_there(tmp_path: Path, result: gk.Result, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report replaces the old one only when it is complete; a failure leaves the old one and no crumbs."""
    target = tmp_path / "new" / "report.html"
    assert gw.report(result, target) == target
    before = target.read_text(encoding="utf-8")
    monkeypatch.setattr(page, "render", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gw.report(result, target)
    monkeypatch.setattr(page, "render", lambda *_: "\ud800")  # what no encoding can write
    with pytest.raises(UnicodeEncodeError):
        gw.report(result, target)
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]
    assert target.read_text(encoding="utf-8") == before


def test_without_comparison_the_page_says_how_to_get_it(result: gk.Result) -> None:
    """A report without the queue comparison names what is missing and the line that adds it."""
    text = page.render(result)
    assert "was not computed" in text and "fill_sensitivity(market, config)" in text
    assert len(payloads(text)) == 7


def test_everything_foreign_is_escaped(result: gk.Result) -> None:
    """A name from outside cannot become markup or end a script."""
    evil = "</script><script>alert(1)</script><img src=x>"
    market = {
        "name": evil,
        "venue": evil,
        "source": [{"name": evil, "sha256": evil}],
        "gaps": [{}],
        "partial": [{"name": evil, "after_line": 1234}],
    }
    config = result.config.replace(provenance=result.config.provenance.replace(note=evil))
    changed = dataclasses.replace(result, market=market, config=config)
    text = page.render(changed)
    assert "alert(1)" in text and "<script>alert" not in text and "<img" not in text.split("/* Style")[0]
    assert parse(text).sections == ORDER
    assert "The recording has 1 gap;" in text and "was cut off after line 1,234;" in text


def test_empty_grid_says_why(market: Any, config: gk.Config) -> None:
    """A grid that quotes nothing has a report that says why, with words instead of empty figures."""
    paused = gk.replay(market, config.replace(**{"grid.mode": "PAUSE"}))
    text = page.render(paused)
    assert paused.empty_reason is not None and page.escape(paused.empty_reason) in text
    assert "Nothing was filled" in text
    assert "no round trip was completed" in text
    assert parse(text).sections == ORDER


def test_short_market_has_no_interval(config: gk.Config) -> None:
    """Under five blocks the page says that it cannot say how certain the result is."""
    text = page.render(gk.replay(gk.synthetic_market(seed=7, minutes=1), config))
    assert "No interval:" in text and 'class="interval"' not in text


def test_inverse_contracts_are_counted_in_their_own_asset(config: gk.Config) -> None:
    """Small amounts in the base asset keep their digits, and the position is in contracts."""
    coin = Instrument(
        symbol="SYNTHUSD_PERP", venue="synthetic", base="SYNTH", quote="USD", tick=Decimal("0.1"), lot=Decimal(1),
        contract=Contract.INVERSE, contract_size=Decimal(100), min_quantity=Decimal(1),
    )  # fmt: skip
    grid = config.replace(**{"grid.size": "2", "grid.position_limit": "10"})
    inverse = gk.replay(gk.synthetic_market(seed=7, minutes=7, instrument=coin), grid)
    text = page.render(inverse)
    assert inverse.summary["trades"] > 0
    assert "position, contracts" in text
    assert re.search(r"[+−]0\.\d{6} SYNTH", text)


def test_sensitivity_runs_every_model_and_touch_fills_most(sensitivity: Any, result: gk.Result) -> None:
    """One row a model from cautious to generous; the run's own is the result; the touch rule fills at least as much."""
    assert sensitivity["queue"].to_list() == list(QUEUES)
    chosen = sensitivity.filter("chosen").row(0, named=True)
    assert chosen["queue"] == "power" and chosen["trades"] == result.summary["trades"]
    assert chosen["net"] == pytest.approx(float(result.summary["equity"]))
    trades = dict(zip(sensitivity["queue"], sensitivity["trades"], strict=True))
    assert trades["touch"] >= trades["risk_averse"] > 0


def test_sensitivity_refuses_a_result_of_another_configuration(
    market: Any, config: gk.Config, result: gk.Result
) -> None:
    """A known result counts only for its own configuration."""
    with pytest.raises(gk.ConfigError, match="another configuration"):
        fill_sensitivity(market, config.replace(**{"grid.levels": 4}), known=result)


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Any:
    """Return a running Chromium."""
    with running_chromium() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def file(text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page as a file."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def opened(browser: Any, file: Path, **options: Any) -> SimpleNamespace:
    """Open the page and wait until the last figure is drawn."""
    view = browser.new_page(**options)
    requests: list[str] = []
    errors: list[str] = []
    view.on("request", lambda request: requests.append(request.url))
    view.on("pageerror", lambda error: errors.append(str(error)))
    view.on("console", lambda message: errors.append(message.text))
    view.goto(file.as_uri())
    view.locator("#figure-8 .main-svg").first.wait_for(state="visible")
    return SimpleNamespace(view=view, requests=requests, errors=errors)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (600, "dark"), (390, "light")])
def test_browser_draws_everything_from_the_file_alone(browser: Any, file: Path, width: int, scheme: str) -> None:
    """All figures draw, nothing else is requested, nothing is said on the console, and no width scrolls sideways."""
    seen = opened(browser, file, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert seen.view.locator(".plot .main-svg").count() >= 8
    assert seen.requests == [file.as_uri()]
    assert seen.errors == []
    assert seen.view.evaluate("document.documentElement.scrollWidth <= innerWidth")
    paper = seen.view.evaluate("document.getElementById('figure-1').layout.template.layout.paper_bgcolor")
    assert paper == {"light": "#FFFFFF", "dark": "#111111"}[scheme]
    seen.view.close()


@pytest.mark.browser
def test_print_is_light_and_the_screen_comes_back(browser: Any, file: Path, tmp_path: Path) -> None:
    """A dark screen prints light figures of the width of a page, and afterwards everything is as before."""
    seen = opened(browser, file, viewport={"width": 1200, "height": 900}, color_scheme="dark")
    look = "[...document.querySelectorAll('.plot')].map(p => [p.layout.template.layout.paper_bgcolor, p._fullLayout.width])"
    before = seen.view.evaluate(look)
    seen.view.evaluate(f"addEventListener('beforeprint', () => window.printed = {look})")
    seen.view.pdf(path=tmp_path / "report.pdf", format="A4")
    # Not wait_for_function: it needs eval, which the page's own policy refuses.
    again = f"JSON.stringify({look}) === '{json.dumps(before, separators=(',', ':'))}'"
    frames = f"for (let i = 0; i < 300 && !({again}); i++) await new Promise(requestAnimationFrame)"
    assert seen.view.evaluate(f"async () => {{ {frames}; return {again}; }}")
    assert seen.view.evaluate("window.printed") == [["#FFFFFF", 660]] * 8
    seen.view.close()
