"""Write docs/spec-map.md: every name of the execution specification, where it is here, and the test that holds it.

    python docs/make_spec_map.py path/to/SPEC.md

The names are read from the specification's code and tables; spec_map.toml says where each class is. Its members are expected there
under their own names; those that are elsewhere, or nowhere, stand beside it with the reason. A name that is mapped to nothing, or to
something that does not exist, is an error.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

DOCS = Path(__file__).parent
TABLE, PAGE = DOCS / "spec_map.toml", DOCS / "spec-map.md"

#: What the sketches' variables are.
OWNERS = {
    "plan": "GridPlan",
    "level": "GridLevel",
    "existing": "Order",
    "o": "Order",
    "entry": "Fill",
    "exit": "Fill",
    "fill": "Fill",
    "diff": "PositionDiff",
    "local_pos": "Position",
    "exchange_pos": "Position",
    "e": "RateLimitError",
    "self.connector": "ExchangeConnector",
    "self.alert_manager": "AlertManager",
}
#: Python's own, and methods of its containers.
PYTHON = {
    "Any",
    "Callable",
    "Decimal",
    "Enum",
    "Exception",
    "TimeoutError",
    "append",
    "extend",
    "get",
    "items",
    "remove",
}


class Name(NamedTuple):
    """A name of the specification: its section, the class it belongs to (empty for none), and itself; parameters as ``method(name)``."""

    section: str
    owner: str
    name: str

    @property
    def full(self) -> str:
        """The name with its owner."""
        return f"{self.owner}.{self.name}" if self.owner else self.name


class Place(NamedTuple):
    """Where a name is: ``module:Object.member`` (empty: nowhere), the test that holds it, and why it is not under its own name."""

    at: str
    test: str
    why: str


# --- the specification ----------------------------------------------------------------------------------------------------


def spec_names(text: str) -> list[Name]:
    """Return the names of the specification, in its order, each once."""
    found: dict[Name, None] = {}
    for part in re.split(r"(?m)^## ", text):
        number = re.match(r"[\d.]+", part)
        section = number[0] if number else "status"
        for owner, name in (*_table_names(section, part), *_code_names(part)):
            if not any(known.full == Name("", owner, name).full for known in found):
                found[Name(section, owner, name)] = None
    return list(found)


def _table_names(section: str, part: str) -> Iterator[tuple[str, str]]:
    if section == "status":
        listed = re.findall(r"(?m)^> - (.*)$", part)
        for name in re.findall(r"`([A-Z][a-z]+[A-Z]\w+|estimate_\w+)(?:\(\))?`", "\n".join(listed)):
            yield "", name
    if section == "9.1":
        yield from (("OrderType", row.strip()) for row in re.findall(r"(?m)^\| (?!Type)(\w[\w ]+?) \|", part))
    if section == "9.2":
        yield "OrderState", "COMPLETED"
    if section == "9.10":
        yield from (("metrics", name) for name in re.findall(r"(?m)^\| `(\w+)` \|", part))


def _code_names(part: str) -> Iterator[tuple[str, str]]:
    for block in re.findall(r"```python\n(.*?)```", part, re.DOTALL):
        for node in ast.parse(block).body:
            if isinstance(node, ast.ClassDef):
                yield "", node.name
                for inner in node.body:
                    yield from _member(node.name, inner)
            elif isinstance(node, ast.FunctionDef):
                yield from _function("", node)


def _member(owner: str, node: ast.stmt) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield owner, node.target.id
    elif isinstance(node, ast.Assign):
        yield from ((owner, target.id) for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from _function(owner, node)


def _function(owner: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, str]]:
    if node.name != "__init__":
        yield owner, node.name
    for argument in node.args.args:
        if argument.arg != "self":
            yield owner, f"{node.name}({argument.arg})"
    for annotation in (*(argument.annotation for argument in node.args.args), node.returns):
        for one in ast.walk(annotation) if annotation is not None else ():
            if isinstance(one, ast.Name) and one.id[0].isupper() and one.id not in PYTHON:
                yield "", one.id
    owners = OWNERS | {"self": owner}
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and one.id.isupper():
            yield "", one.id
        elif isinstance(one, ast.Attribute):
            base = ast.unparse(one.value)
            if base == "self.config":
                yield CONFIGS[owner], one.attr
            elif base in owners and one.attr not in PYTHON:
                yield owners[base], one.attr
        elif (
            isinstance(one, ast.Subscript)
            and ast.unparse(one.value) == "features"
            and isinstance(one.slice, ast.Constant)
        ):
            yield "Features", str(one.slice.value)
        elif isinstance(one, ast.Call):
            yield from _call(one)
        elif isinstance(one, ast.ExceptHandler) and isinstance(one.type, ast.Name) and one.type.id not in PYTHON:
            yield "", one.type.id


CONFIGS = {"GridManager": "GridConfig", "OrderRetryPolicy": "RetryConfig"}


def _call(call: ast.Call) -> Iterator[tuple[str, str]]:
    name = ast.unparse(call.func)
    if name == "features.get" and isinstance(call.args[0], ast.Constant):
        yield "Features", str(call.args[0].value)
    elif name.endswith("send_alert"):
        yield from (("AlertManager", f"send_alert({one.arg})") for one in call.keywords)
    elif name[0].isupper() and name.isidentifier() and name not in PYTHON:
        yield "", name
        yield from ((name, one.arg) for one in call.keywords if one.arg)


# --- here ---------------------------------------------------------------------------------------------------------------


def places(names: list[Name], table: dict[str, Any]) -> tuple[dict[Name, Place], list[str]]:
    """Return where each name is, and what is wrong."""
    found: dict[Name, Place] = {}
    wrong: list[str] = []
    for name in names:
        key, parameter, _ = (name.owner or name.name).partition("(")
        entry = table.get(key)
        if entry is None:
            wrong.append(f"{name.full} ({name.section}) is not in {TABLE.name}")
            continue
        test = entry.get("test", "")
        if not name.owner:
            at = entry.get("at", "") + name.name.removeprefix(key)
            place = Place(at, test, "" if parameter else entry.get("why", ""))
        elif name.name in entry.get("left_out", {}):
            place = Place("", "", entry["left_out"][name.name])
        elif name.name in entry.get("elsewhere", {}):
            at, why, *own_test = entry["elsewhere"][name.name]
            place = Place(at, own_test[0] if own_test else test, why)
        elif entry.get("told"):
            place = Place(f"{entry['at']}:{name.name}", test, "")
        elif entry.get("at"):
            place = Place(f"{entry['at']}.{name.name}", test, "")
        else:
            place = Place("", "", entry["why"])
        found[name] = place
        wrong += [f"{name.full} ({name.section}): {text}" for text in _faults(place)]
    known = {(name.owner or name.name).partition("(")[0] for name in names}
    wrong += [f"{one} is in {TABLE.name} and not in the specification" for one in table if one not in known]
    return found, wrong


def _faults(place: Place) -> Iterator[str]:
    if not place.at:
        if not place.why:
            yield "neither a place nor a reason"
        return
    if not exists(place.at):
        yield f"{place.at} does not exist"
    file = DOCS.parent / place.test
    if not place.test or not file.is_file():
        yield f"its test {place.test or '?'} does not exist"


def exists(at: str) -> bool:
    """Whether ``module:Object.member`` is there, ``module:Object.method(parameter)``, or ``module:Object:word`` in its docstring."""
    module, path, word, *_ = *at.split(":"), ""
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    if word:
        return f"`{word}`" in (getattr(found, path).__doc__ or "")
    path, _, parameter = path.removesuffix(")").partition("(")
    *owners, last = path.split(".")
    for one in owners:
        found = getattr(found, one, None)
    if parameter:
        return parameter in inspect.signature(getattr(found, last) if last else found).parameters
    return hasattr(found, last) or _has_field(found, last)


def _has_field(found: Any, name: str) -> bool:
    """Whether a class has a field of this name, by its annotations or by what it assigns to itself."""
    if not inspect.isclass(found):
        return False
    if dataclasses.is_dataclass(found) and name in {field.name for field in dataclasses.fields(found)}:
        return True
    if name in getattr(found, "model_fields", {}) or name in getattr(found, "__annotations__", {}):
        return True
    return re.search(rf"self\.{name}\b[^=\n]*=[^=]", inspect.getsource(found)) is not None


def page(found: dict[Name, Place]) -> str:
    """Return the table as Markdown."""
    lines = [
        "# The specification's names",
        "",
        "Where each name of the execution specification is, and the tests that hold it; one that stands elsewhere or nowhere says why.",
        "Written by `docs/make_spec_map.py` from `docs/spec_map.toml`; `tests/test_spec_map.py` fails on a name without a place.",
    ]
    section = ""
    for name, place in found.items():
        if name.section != section:
            section = name.section
            lines += ["", f"## {section}", "", "| name | here | test | why elsewhere or not |", "|---|---|---|---|"]
        here = f"`{place.at}`" if place.at else "–"
        test = f"`{place.test}`" if place.test else ""
        lines.append(f"| `{name.full}` | {here} | {test} | {place.why} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    names = spec_names(Path(sys.argv[1]).read_text())
    found, wrong = places(names, tomllib.loads(TABLE.read_text()))
    if wrong:
        sys.exit("\n".join(wrong))
    PAGE.write_text(page(found))


if __name__ == "__main__":
    main()
