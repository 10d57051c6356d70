"""Fixtures of all tests: where the shared recordings are, and how Hypothesis behaves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from grinder_kit.market.recording import Recording

ROOT = Path(__file__).resolve().parent.parent

# Compiled code is slow once, on its first call: a deadline would call that a failure. CI draws the same each time.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


# Tests that share what is slow to start: a browser and a JupyterLab, the compiled peer, a cluster, a fitted model. Each of these stays on
# one worker. The marks of xdist for this have no effect under pytest 9.2, which no longer reads the names that they change.
TOGETHER = (
    "tests/browser/",
    "tests/fillprob/test_evaluation.py",
    "tests/fillprob/test_labels_peer.py",
    "tests/simulation/test_farm.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal out tests one by one, and those of `TOGETHER` as wholes."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((start for start in TOGETHER if nodeid.startswith(start)), nodeid)

    return Scheduling(config, log)


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
