"""The TOML file of a configuration: one schema for replay, paper, live and production.

Reading says file and line of what is wrong; writing comments every key with its meaning and unit.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from grinder_kit.errors import ConfigError
from grinder_kit.model.config import SECTIONS, Config, GridConfig, Provenance, unknown_key, unknown_section
from grinder_kit.model.config_diff import edits, refuse_edits
from grinder_kit.model.number import plain
from grinder_kit.model.section import InvalidConfigError, Problem, Section, exact_as_float, nearest
from grinder_kit.model.whole_file import draft

_HEADER = re.compile(r"^\s*\[\s*([A-Za-z0-9_.\"'-]+)\s*\]")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+)\s*=")


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read a configuration file; what it says of other files counts from its folder.

    Raises
    ------
    ConfigError
        For a file that is missing or no TOML, unknown sections and keys, values that do not fit: one line each, with
        file and line.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text at byte {error.start}; a configuration is a TOML file") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    return placed(parse_config(text, name=str(path)), Path(path).parent)


def placed(config: Config, folder: str | os.PathLike[str]) -> Config:
    """Return a configuration whose other files have absolute paths, counted from `folder`."""
    model = config.fill_model
    if model is None or model.file is None:
        return config
    return config.replace(**{"fill_model.file": str(Path(folder, model.file).resolve())})


def _beside(config: Config, folder: Path) -> Config:
    """Return a configuration whose other files, where they lie in `folder`, are told from there: both can be moved together."""
    model = config.fill_model
    if model is None or model.file is None or not Path(model.file).is_relative_to(folder.resolve()):
        return config
    return config.replace(**{"fill_model.file": Path(model.file).relative_to(folder.resolve()).as_posix()})


def load_exported(path: str | os.PathLike[str]) -> Config:
    """Read a configuration that is to trade: as :func:`load_config`, and what was exported must be as it was exported.

    Raises
    ------
    InvalidConfigError
        For an exported file that was edited since: its score and its digest speak of another configuration.
    """
    config = load_config(path)
    try:
        refuse_edits(config)
    except InvalidConfigError as error:
        raise locate(error, Path(path).read_text(encoding="utf-8"), str(path)) from None
    return config


def parse_config(text: str, *, name: str = "configuration") -> Config:
    """Read a configuration from TOML text; `name` stands before the line in errors."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        message = str(error).split(" (at ")[0]
        line = at[1] if at else str(max(1, len(text.splitlines())))  # otherwise it is the end of the document
        place = f"{name}:{line}: {message}" + (f" (column {at[2]})" if at else "")
        raise ConfigError(f"{place}; this is no TOML") from None
    try:
        return _build(data)
    except InvalidConfigError as error:
        raise locate(error, text, name) from None


def locate(error: InvalidConfigError, text: str, name: str) -> InvalidConfigError:
    """Return the same problems with file and line, where the key stands in `text`; otherwise with the key's path."""
    lines = _lines(text)
    found: list[tuple[int, Problem]] = []
    for problem in error.problems:
        line = next(
            (lines[problem.path[:n]] for n in range(len(problem.path), 0, -1) if problem.path[:n] in lines), None
        )
        place = f"{name}:{line}" if line is not None else name
        # A line that only leads to the section does not show the key: name the section then.
        exact = line is not None and problem.path in lines and len(problem.path) > 1
        where = "" if exact or not problem.path or len(problem.path) == 1 else f"[{problem.path[0]}] "
        found.append((line or 0, Problem(path=problem.path, text=f"{place}: {where}{problem.text}")))
    return InvalidConfigError(problem for _, problem in sorted(found, key=lambda pair: pair[0]))


def _build(data: Mapping[str, Any]) -> Config:
    """Build the sections one by one, so that all that is wrong in a file is said at once."""
    problems: list[Problem] = []
    built: dict[str, Section] = {}
    for section, values in data.items():
        if section not in SECTIONS:
            problems.append(Problem(path=(section,), text=unknown_section(section)))
        elif not isinstance(values, dict):
            text = f"{section} is {values!r}; write a section [{section}] with its keys"
            problems.append(Problem(path=(section,), text=text))
        else:
            known = SECTIONS[section].model_fields
            unknown = [Problem(path=(section, k), text=unknown_key(section, k)) for k in values if k not in known]
            try:
                built[section] = SECTIONS[section](**{k: v for k, v in values.items() if k in known})
            except InvalidConfigError as error:
                # A misspelt key also leaves its proper one missing: that follow-up would only distract.
                follow_up = {nearest(k, known) for k in values if k not in known}
                problems += [
                    Problem(path=(section, *p.path), text=p.text)
                    for p in error.problems
                    if not (p.path and p.path[-1] in follow_up)
                ]
            problems += unknown
    if "grid" not in data:
        text = '[grid] is missing; it needs at least spacing_bps = 8 and size = "0.002"'
        problems.append(Problem(path=("grid",), text=text))
    if problems:
        raise InvalidConfigError(problems)
    return Config(**built)


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line of every section and key that is written in the plain way of TOML."""
    found: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = _split(header[1])
            found.setdefault(section, number)
        elif key := _KEY.match(line):
            found.setdefault(section + _split(key[1]), number)
    return found


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"' ") for part in dotted.split("."))


def apply_overrides(config: Config, overrides: Iterable[str]) -> Config:
    """Return `config` with ``section.key=value`` texts applied, the values read as TOML (bare words as text).

    A number is taken as it is written, so ``grid.size=0.004`` is exact here.

    Raises
    ------
    ConfigError
        As the file does, with the override that is wrong.
    """
    changes: dict[str, Any] = {}
    for override in overrides:
        dotted, equals, text = override.partition("=")
        dotted, text = dotted.strip(), text.strip()
        if not equals or "." not in dotted or not text:
            raise ConfigError(f"--set {override}: write section.key=value, such as execution.queue=power")
        changes[dotted] = _value(text)
    try:
        return config.replace(**changes)
    except InvalidConfigError as error:
        raise InvalidConfigError(
            Problem(path=problem.path, text=f"--set {'.'.join(problem.path)}: {problem.text}")
            for problem in error.problems
        ) from None


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}", parse_float=Decimal)["value"]
    except (tomllib.TOMLDecodeError, ValueError):
        return text


def save_config(config: Config | GridConfig, path: str | os.PathLike[str]) -> Path:
    """Write a configuration file with comments and units; a broken write leaves the old file as it was."""
    target = Path(path)
    if isinstance(config, Config):
        config = _beside(placed(config, Path.cwd()), target.parent)
    with draft(target) as part:
        part.write_text(format_config(config), encoding="utf-8", newline="\n")
    return target


def format_config(config: Config | GridConfig) -> str:
    """Return the TOML text of a configuration; :func:`parse_config` reads the same value back.

    A configuration that was changed after its export loses what was known of the exported one: digest, score and the rest.
    """
    import tomlkit  # only writing needs it

    whole = config if isinstance(config, Config) else Config(grid=config)
    if edits(whole):
        known = whole.provenance
        whole = whole.replace(provenance=Provenance(market=known.market, note=known.note))
    document = tomlkit.document()
    document.add(tomlkit.comment("A configuration of grinder_kit: `grinder replay THIS --data RECORDING` runs it."))
    if whole.provenance.canonical is not None:
        document.add(
            tomlkit.comment(
                "`grinder verify THIS --data RECORDING` says whether it still does what it did; `grinder run THIS` trades."
            )
        )
    for name in SECTIONS:
        section = getattr(whole, name)
        if section is None or not section.to_json():
            continue  # nothing is set: an empty table would only be noise
        table = tomlkit.table()
        items = {
            key: tomlkit.item(_written(value, section.is_number(key)))
            for key in type(section).model_fields
            if (value := getattr(section, key)) is not None
        }
        width = max(len(key) + len(item.as_string()) for key, item in items.items())
        for key, item in items.items():
            if description := type(section).model_fields[key].description:
                item.comment(description)
                # Far values (lists) do not push the comments of all other keys to the right.
                item.trivia.comment_ws = " " * max(2, min(width, 36) - len(key) - len(item.as_string()) + 2)
            table.add(key, item)
        document.add(tomlkit.nl())
        document.add(name, table)
    return tomlkit.dumps(document)


def _written(value: Any, bare: bool) -> Any:
    """Return a value as TOML holds it: exact numbers as text, bps and ratios as numbers, whole ones without a point."""
    import tomlkit

    if isinstance(value, Decimal):
        if not bare or not exact_as_float(value):
            return plain(value)
        value = float(value)
    if isinstance(value, tuple):
        return [_written(item, bare) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str):
        # Text with quotes stands as it is between single ones, where TOML allows that.
        literal = '"' in value and not re.search("['\x00-\x1f\x7f]", value)
        return tomlkit.string(value, literal=True) if literal else str(value)
    return value
