"""A figure of plotly as a PNG, for the pages here; needs Chromium."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def save(drawn: Any, target: Path) -> None:
    """Render a figure into a PNG of its own size."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        sys.exit("no Chromium; apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder) / "figure.html", Path(folder) / "figure.png"
        style = "<style>body { margin: 0 }</style>"
        page.write_text(
            style + drawn.to_html(include_plotlyjs=True, config={"displayModeBar": False}), encoding="utf-8"
        )
        command = [
            found, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=8000",
            f"--window-size={drawn.layout.width},{drawn.layout.height}", f"--screenshot={picture}", page.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        target.write_bytes(picture.read_bytes())
