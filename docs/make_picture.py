"""Make docs/picture.png, the picture of README.md, from the report of the demo.

    make demo
    .venv/bin/python docs/make_picture.py

It needs Chromium. Another report and another file may be named: make_picture.py REPORT PICTURE. The picture is the report itself,
in light colours, without assumptions and tables and with lower figures, so that its first three answers fit on one screen.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT, SCALE = 1500, 1000, 0.8  # CSS pixels; 1200 x 800 in the file
FIGURE_HEIGHTS = {360: 270, 440: 318}
STYLE = """<style>
#assumptions, details, #money > h2 { display: none; }
h1 { margin-top: 1.1rem; }
section { margin-top: 1.1rem; }
.tiles { margin-top: .9rem; gap: 1.25px; }
main { max-width: 1440px; }
.banner { padding-left: 50px; }
.plot { min-height: 0 !important; }
</style>
"""


def picture(report: Path, target: Path) -> None:
    """Render the top of `report` into `target` (PNG)."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        sys.exit("no Chromium; apt-get install chromium")
    if not report.exists():
        sys.exit(f"{report}: no such report; run `make demo` first")
    page = report.read_text(encoding="utf-8").replace("</head>", f"{STYLE}</head>", 1)
    for tall, low in FIGURE_HEIGHTS.items():
        page = re.sub(rf'"height":{tall}\b', f'"height":{low}', page)
    with tempfile.TemporaryDirectory() as folder:
        draft, drawn = Path(folder) / "report.html", Path(folder) / "picture.png"
        draft.write_text(page, encoding="utf-8")
        command = [
            found, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=8000",
            f"--window-size={WIDTH},{HEIGHT}", f"--force-device-scale-factor={SCALE}", f"--screenshot={drawn}", draft.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        target.write_bytes(drawn.read_bytes())


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    picture(*(given or [ROOT / "build" / "demo" / "report.html", ROOT / "docs" / "picture.png"]))
