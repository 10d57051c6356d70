"""Fixtures of all tests: where the shared recordings are, and how Hypothesis behaves."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from grinder_kit.market.recording import Recording

ROOT = Path(__file__).resolve().parent.parent

# Compiled code is slow once, on its first call: a deadline would call that a failure. CI draws the same each time.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.hookimpl(wrapper=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Keep the tests of pages on one worker: a browser and a JupyterLab are slow to start."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group("browser"))
    return (yield)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of recordings and reference vectors; skips where it is absent, fails where it is required."""
    folder = Path(os.environ.get("GRINDER_SHARED_DATA") or ROOT.parent / "shared" / "data").resolve()
    if not (folder / "vectors").is_dir():
        reason = f"no shared data at {folder}; set GRINDER_SHARED_DATA"
        if os.environ.get("GRINDER_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


def _imported(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Recording:
    from grinder_kit.market.binance_ws import import_binance_ws
    from grinder_kit.market.recording import Recording

    target = tmp_path_factory.mktemp("recordings") / f"{source.name.split('.')[0]}.parquet"
    import_binance_ws(source, target)
    return Recording.open(target)


@pytest.fixture(scope="session")
def btc_recording(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Return the oracle's recording of BTCUSDT, imported once."""
    return _imported(tmp_path_factory, shared_data / "ticks" / "hftbacktest" / "usdm_btcusdt_20240808.gz")


@pytest.fixture(scope="session")
def eth_recording(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Return the oracle's recording of ETHUSDT, imported once."""
    return _imported(tmp_path_factory, shared_data / "ticks" / "hftbacktest" / "usdm_ethusdt_20240808.gz")


@pytest.fixture(scope="session")
def coin_recording(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Return a recording of an inverse contract, BTCUSD_PERP on COIN-M, imported once."""
    return _imported(tmp_path_factory, shared_data / "ticks" / "hftbacktest" / "cm_btcusd_perp_20240808.gz")
