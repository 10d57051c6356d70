"""Beacon: what only the browser can do for a view. It is the only JavaScript of our own.

It counts how old the view is, since a busy or dead kernel cannot say that it is late; it reports whether the page is light or dark;
it copies to the clipboard; it announces changes to who cannot see them.
"""

from __future__ import annotations

import time

import anywidget
import traitlets

_ESM = """
const LOST_S = 30;  // after that, silence may be more than a long cell
const dark = matchMedia("(prefers-color-scheme: dark)");

function theme() {
  const told = document.body.dataset.jpThemeLight;
  return (told ? told === "false" : dark.matches) ? "dark" : "light";
}

// Text in which `words` between backticks are code that one click selects.
function write(element, text) {
  element.replaceChildren(...text.split("`").map((part, i) => {
    if (i % 2 === 0) return document.createTextNode(part);
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  }));
}

async function copy(text, area, say) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch {
    area.value = text;
    area.rows = text.split("\\n").length;
    area.hidden = false;
    area.focus();
    area.select();
    say("The browser does not let a page copy here: press Ctrl+C, then Escape.");
  }
}

function render({ model, el }) {
  el.classList.add("gk-beacon");
  const add = (tag, name) => el.appendChild(Object.assign(document.createElement(tag), { className: name, hidden: true }));
  const late = add("div", "gk-late"), said = add("div", "gk-said"), live = add("div", "gk-live"), area = add("textarea", "gk-copy");
  live.hidden = false;
  live.setAttribute("aria-live", "polite");
  area.readOnly = true;
  area.setAttribute("aria-label", "Text to copy");
  area.addEventListener("keydown", event => { if (event.key === "Escape") { area.hidden = true; said.hidden = true; } });
  area.addEventListener("blur", () => { area.hidden = true; });

  let heard = performance.now(), fresh = false, shown = "", forget = 0;
  const announce = text => { live.textContent = text; };
  const say = text => {
    said.textContent = text;
    said.hidden = false;
    announce(text);
    clearTimeout(forget);
    forget = setTimeout(() => { said.hidden = true; }, 6000);
  };
  const age = () => {
    const seconds = (performance.now() - heard) / 1000, sent = model.get("sent_ms");
    let text = "";
    if (seconds > model.get("late_s")) {
      const stored = !fresh && Date.now() - sent > 15000;
      const view = `View ${Math.floor(seconds)} s old: kernel busy`;
      text = stored ? `Saved view of ${new Date(sent).toISOString().slice(11, 16)} UTC, not connected. Run the cell again.`
        : seconds > LOST_S ? `${view} or gone. ${model.get("gone")}` : `${view}. ${model.get("busy")}`;
    }
    if (text === shown) return;
    if (text && !shown) announce(text);
    shown = text;
    late.hidden = !text;
    write(late, text);
  };
  const report = () => { if (model.get("theme") !== theme()) { model.set("theme", theme()); model.save_changes(); } };
  const beat = () => { heard = performance.now(); fresh = true; age(); };
  const told = () => announce(model.get("said").text ?? "");
  const wanted = () => { if (model.get("copied").text) copy(model.get("copied").text, area, say); };

  model.on("change:beat", beat);
  model.on("change:said", told);
  model.on("change:copied", wanted);
  dark.addEventListener("change", report);
  const watch = new MutationObserver(report);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  const timer = setInterval(age, 500);
  report();
  return () => {
    clearInterval(timer);
    clearTimeout(forget);
    watch.disconnect();
    dark.removeEventListener("change", report);
    model.off("change:beat", beat);
    model.off("change:said", told);
    model.off("change:copied", wanted);
  };
}
export default { render };
"""

_CSS = """
.gk-beacon .gk-late { background: #F2C14E; color: #1A1D21; padding: 4px 12px; font-weight: 600; }
.gk-beacon code { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.gk-beacon code { background: none; color: inherit; user-select: all; }
.gk-beacon .gk-said { padding: 4px 12px; }
.gk-beacon .gk-copy { display: block; width: 100%; box-sizing: border-box; font-family: ui-monospace, Menlo, Consolas, monospace; }
.gk-beacon .gk-live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.gk-beacon [hidden] { display: none; }
"""


class Beacon(anywidget.AnyWidget):
    """What the browser counts, reports, copies and announces for a view.

    Parameters
    ----------
    late_s : float
        A view that has not been heard for so long says how old it is.
    busy, gone : str
        What it adds then: at first, and after half a minute. Words between backticks are code.

    Attributes
    ----------
    theme : str
        ``light`` or ``dark``, as the page is; empty until it has said so.

    Examples
    --------
    >>> beacon = Beacon(late_s=3.0, busy="The session runs by itself.")
    >>> beacon.observe(lambda change: print(change["new"]), "theme")
    >>> beacon.pulse()
    """

    _esm = _ESM
    _css = _CSS

    beat = traitlets.Int().tag(sync=True)
    sent_ms = traitlets.Float().tag(sync=True)
    late_s = traitlets.Float(3.0).tag(sync=True)
    busy = traitlets.Unicode().tag(sync=True)
    gone = traitlets.Unicode().tag(sync=True)
    said = traitlets.Dict().tag(sync=True)
    copied = traitlets.Dict().tag(sync=True)
    theme = traitlets.Unicode().tag(sync=True)

    def __init__(self, *, late_s: float = 3.0, busy: str = "", gone: str = "") -> None:
        super().__init__(late_s=late_s, busy=busy, gone=gone, sent_ms=time.time() * 1000)

    def pulse(self) -> None:
        """Tell the browser that the kernel lives; call it about once a second."""
        with self.hold_sync():
            self.sent_ms = time.time() * 1000
            self.beat += 1

    def announce(self, text: str) -> None:
        """Let a screen reader say something."""
        self.said = {"number": self.said.get("number", 0) + 1, "text": text}

    def copy(self, text: str) -> None:
        """Put text on the clipboard; where the browser refuses, it is shown selected."""
        self.copied = {"number": self.copied.get("number", 0) + 1, "text": text}
