"""The map of the specification: every name has a place that exists, or a reason, and the page in docs says so."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

SKETCH = """
## 9.8 Latency

```python
class LatencyMonitor:
    def record_send(self, order_id: str, when: int) -> None:
        self.threshold_ms = 500
```
"""


@pytest.fixture(scope="module")
def spec_map(root: Path) -> ModuleType:
    """Return the script that writes the page."""
    spec = importlib.util.spec_from_file_location("make_spec_map", root / "docs" / "make_spec_map.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_name_has_its_place(spec_map: ModuleType, shared_data: Path) -> None:
    """Nothing of the specification is without a place or a reason, and the page is what the script writes."""
    names = spec_map.spec_names((shared_data.parent / "SPEC.md").read_text())
    assert len(names) > 150
    found, wrong = spec_map.places(names, tomllib.loads(spec_map.TABLE.read_text()))
    assert wrong == []
    assert spec_map.page(found) == spec_map.PAGE.read_text(), "write it again: python docs/make_spec_map.py SPEC.md"


def test_a_name_without_a_place_is_told(spec_map: ModuleType) -> None:
    """A class that is not mapped, a member that does not exist, and an entry for nothing."""
    names = spec_map.spec_names(SKETCH)
    assert [name.full for name in names] == [
        "LatencyMonitor",
        "LatencyMonitor.record_send",
        "LatencyMonitor.record_send(order_id)",
        "LatencyMonitor.record_send(when)",
        "LatencyMonitor.threshold_ms",
    ]
    assert "LatencyMonitor (9.8) is not in spec_map.toml" in spec_map.places(names, {})[1]
    here = {"at": "grinder_kit.execution.latency:LatencyMonitor", "test": "tests/test_spec_map.py"}
    _, wrong = spec_map.places(names, {"LatencyMonitor": here, "Nothing": {"why": "never"}})
    assert wrong == [
        f"LatencyMonitor.record_send(when) (9.8): {here['at']}.record_send(when) does not exist",
        "Nothing is in spec_map.toml and not in the specification",
    ]
    assert spec_map.places(names, {"LatencyMonitor": {"why": "not yet"}})[1] == []
    assert spec_map.places(names[:1], {"LatencyMonitor": {}})[1] == [
        "LatencyMonitor (9.8): neither a place nor a reason"
    ]
