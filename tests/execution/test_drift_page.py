"""docs/drift.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from grinder_kit.execution.reconciliation import MismatchKind
from grinder_kit.model.config import Config, GridConfig, ReconcileConfig, ReconcileMode
from grinder_kit.model.config_file import format_config, parse_config


def test_the_page_shows_the_defaults(root: Path) -> None:
    """Its configuration is the default one, word for word, and names every mode and mismatch."""
    page = (root / "docs" / "drift.md").read_text(encoding="utf-8")
    section = re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1]  # type: ignore[index]
    config = parse_config('[grid]\nspacing_bps = 8\nsize = "0.002"\n' + section)
    assert config.reconcile == ReconcileConfig()
    assert section.strip() in format_config(Config(grid=GridConfig(spacing_bps=8, size="0.002")))
    assert all(f"`{kind}`" in page for kind in MismatchKind)
    assert "| drift | " + " | ".join(ReconcileMode) + " |" in page
