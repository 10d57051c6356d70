"""The `grinder` command as it is installed without extras: ``python core_only.py replay CONFIG``.

Packages that the core does not ask for, directly or through others, cannot be imported.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions, requires

from packaging.requirements import Requirement


def core_distributions() -> set[str]:
    """Return the distributions that are installed with grinder-kit when no extra is asked for."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [("grinder-kit", frozenset[str]())]
    while waiting:
        name, extras = one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        for line in requires(name) or ():
            asked = Requirement(line)
            if asked.marker is None or any(asked.marker.evaluate({"extra": extra}) for extra in extras or {""}):
                waiting.append((_plain(asked.name), frozenset(asked.extras)))
    return {name for name, _ in seen}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Missing(MetaPathFinder):
    """Lets no module be found that only other distributions have."""

    def __init__(self) -> None:
        core = core_distributions()
        tops = packages_distributions().items()
        self.tops = {top for top, owners in tops if not {_plain(owner) for owner in owners} & core}

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        """Refuse what is not installed with the core."""
        top = fullname.partition(".")[0]
        if top in self.tops:
            raise ModuleNotFoundError(f"No module named {fullname!r} (not with the core)", name=top)
        return None


if __name__ == "__main__":
    missing = Missing()
    assert {"ipywidgets", "IPython", "ipykernel", "jupyterlab", "plotly", "optuna", "distributed"} <= missing.tops
    assert not {"polars", "numba", "grinder_kit", "typer"} & missing.tops
    for name in [name for name in sys.modules if name.partition(".")[0] in missing.tops]:
        del sys.modules[name]
    sys.meta_path.insert(0, missing)

    from grinder_kit.cli import main

    main()
