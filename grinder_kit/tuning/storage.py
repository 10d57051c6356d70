"""The file of a study: what it is about, and one row a trial, so that it can be stopped, resumed and opened later."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grinder_kit.errors import DataError
from grinder_kit.model.config import Config
from grinder_kit.model.instrument import Instrument
from grinder_kit.tuning.design import Design
from grinder_kit.tuning.space import Space
from grinder_kit.tuning.trial import Objective, Outcome, Trial

if TYPE_CHECKING:
    from grinder_kit.tuning.study import Study

VERSION = 1
_CREATE = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trial (
    number INTEGER PRIMARY KEY, places TEXT NOT NULL, pruned_at REAL, test TEXT, train TEXT, glimpse TEXT,
    test_blocks BLOB, train_blocks BLOB, glimpse_blocks BLOB
);
"""
_INSERT = "INSERT OR REPLACE INTO trial VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


class StudyStoppedError(DataError):
    """A study that cannot go on; what was computed is in `study`, and in its file as far as that could be written.

    Parameters
    ----------
    message : str
    study : Study
        With the trials that were done.
    """

    def __init__(self, message: str, study: Study) -> None:
        super().__init__(message)
        self.study = study


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Everything that decides a study's trials; two studies that agree in it have the same ones.

    Attributes
    ----------
    recording : str
        SHA-256 of the market: of its sources where it was recorded, of its seed and length where it is synthetic.
    market : str
        What it is called.
    instrument : Instrument
    window_ns : tuple of int
        First and last exchange time of the whole.
    base : Config
        What the space does not vary.
    space : Space
    objectives : tuple of Objective
    seed : int
    design : Design
    trials : int
        How many are wanted. It may grow later, but for a grid.
    test, purge_s, block_s : float
        Share of the time that judges; gap before it, s; length of the blocks of profit, s.
    prune : bool
    """

    recording: str
    market: str
    instrument: Instrument
    window_ns: tuple[int, int]
    base: Config
    space: Space
    objectives: tuple[Objective, ...]
    seed: int
    design: Design
    trials: int
    test: float
    purge_s: float
    block_s: float
    prune: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "recording": self.recording,
            "market": self.market,
            "instrument": self.instrument.to_json(),
            "window_ns": list(self.window_ns),
            "base": json.loads(self.base.canonical()),
            "space": self.space.to_toml(),
            "objectives": [str(one) for one in self.objectives],
            "seed": self.seed,
            "design": str(self.design),
            "trials": self.trials,
            "test": self.test,
            "purge_s": self.purge_s,
            "block_s": self.block_s,
            "prune": self.prune,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> About:
        """Read what :meth:`to_json` wrote."""
        return cls(
            **{
                **values,
                "instrument": Instrument.from_json(values["instrument"]),
                "window_ns": tuple(values["window_ns"]),
                "base": Config(**values["base"]),
                "space": Space.from_toml(values["space"]),
                "objectives": tuple(Objective(one) for one in values["objectives"]),
                "design": Design(values["design"]),
            }
        )

    def check_same(self, other: About, where: Path) -> None:
        """Refuse to go on with a study of other things.

        Raises
        ------
        DataError
            With what the study was made on, and what was given.
        """
        mine, given = self.to_json(), other.to_json()
        tail = f"; take the same, or another file than {where}"
        if self.recording != other.recording:
            raise DataError(
                f"study was made on recording sha256 {self.recording[:8]}... ({self.market}), this one is "
                f"{other.recording[:8]}... ({other.market}){tail}"
            )
        if self.base.canonical() != other.base.canonical():
            from grinder_kit.model.config_diff import differences

            changed = ", ".join(map(str, differences(self.base, other.base)))
            raise DataError(f"study was made with another configuration: {changed}{tail}")
        for key in (
            "instrument",
            "window_ns",
            "space",
            "objectives",
            "seed",
            "design",
            "test",
            "purge_s",
            "block_s",
            "prune",
        ):
            if mine[key] != given[key]:
                old, new = (getattr(one, key) for one in (self, other))
                shown = [", ".join(map(str, v)) if isinstance(v, tuple) else v for v in (old, new)]
                raise DataError(f"study was made with {key} {shown[0]}, this one is {shown[1]}{tail}")
        if self.trials != other.trials and self.design is Design.GRID:
            raise DataError(
                f"study was made as a grid of at most {self.trials:,} trials, this one is {other.trials:,}{tail}"
            )


class StudyFile:
    """The file of a study: SQLite, one commit for each handful of trials.

    Parameters
    ----------
    path : Path
        Made where it is missing, with its folder.
    about : About
        Compared with what is in the file.

    Raises
    ------
    DataError
        For a file that is no study, one of other things, or one that cannot be written.
    """

    def __init__(self, path: Path, about: About) -> None:
        self.path = path
        if path.is_dir():
            raise DataError(f"{path}: is a folder; name a file")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}; name a file in a folder that can be written") from None
        existed = path.exists()
        if existed:
            kept, _ = read_study(path)
            kept.check_same(about, path)
        try:
            self._file = sqlite3.connect(path)
            with self._file:
                self._file.executescript(_CREATE)
                values = {"version": VERSION, **about.to_json()}
                self._file.executemany(
                    "INSERT OR REPLACE INTO about VALUES (?, ?)", [(key, json.dumps(v)) for key, v in values.items()]
                )
        except sqlite3.Error as error:
            raise DataError(f"{path}: the study cannot be written ({error}); name a file that can be") from None

    def trials(self) -> list[Trial]:
        """Return the trials that are in the file, by number."""
        return read_study(self.path)[1]

    def add(self, trials: Iterable[Trial]) -> None:
        """Write trials; they are in the file, all of them, when this returns.

        Raises
        ------
        DataError
            Where the disk is full or the file has become unwritable; what was written before is kept.
        """
        try:
            with self._file:
                self._file.executemany(_INSERT, [_row(trial) for trial in trials])
        except sqlite3.Error as error:
            raise DataError(f"{self.path}: trials cannot be written ({error})") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_study(path: Path) -> tuple[About, list[Trial]]:
    """Return what a study is about, and its trials by number.

    Raises
    ------
    DataError
        For a file that is missing, is no study, or is of a later version.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such study; gk.tune(..., storage=Path({str(path)!r})) makes one")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)) as file:
            values = {key: json.loads(value) for key, value in file.execute("SELECT key, value FROM about")}
            rows = file.execute("SELECT * FROM trial ORDER BY number").fetchall()
    except (sqlite3.Error, ValueError) as error:
        raise DataError(f"{path} is no study ({error}); name a file that gk.tune(..., storage=...) wrote") from None
    version = values.pop("version", None)
    if version != VERSION:
        raise DataError(f"{path} is a study of version {version}, this is version {VERSION}; run it again")
    about = About.from_json(values)
    return about, [_trial(about, row) for row in rows]


def _row(trial: Trial) -> tuple[Any, ...]:
    outcomes = (trial.test, trial.train, trial.glimpse)
    return (
        trial.number, json.dumps(trial.places), trial.pruned_at, *map(_text, outcomes),
        *(None if one is None else one.blocks.tobytes() for one in outcomes),
    )  # fmt: skip


def _text(outcome: Outcome | None) -> str | None:
    if outcome is None:
        return None
    values = asdict(outcome)
    del values["blocks"]
    return json.dumps(values, default=str)


def _trial(about: About, row: Sequence[Any]) -> Trial:
    number, text, pruned_at = row[:3]
    places = tuple(json.loads(text))
    test, train, glimpse = (
        None if values is None else _outcome(json.loads(values), blocks)
        for values, blocks in zip(row[3:6], row[6:9], strict=True)
    )
    return new_trial(about, number, places, test=test, train=train, glimpse=glimpse, pruned_at=pruned_at)


def new_trial(about: About, number: int, places: tuple[int, ...], **outcomes: Any) -> Trial:
    """Return a trial of a study with its parameters and configuration."""
    parameters, config = about.space.values(places), about.space.config(about.base, places)
    return Trial(number=number, places=places, parameters=parameters, config=config, **outcomes)


def _outcome(values: dict[str, Any], blocks: bytes) -> Outcome:
    money = {key: Decimal(values[key]) for key in ("net", "fees", "funding")}
    return Outcome(**(values | money), blocks=array("d", blocks))


def identity(market: Any) -> str:
    """Return the SHA-256 of a market's content: of its sources where it was recorded, of what makes it where it is synthetic.

    A recording of one source has the hash of that source; its name and place do not count.
    """
    told: dict[str, Any] = market.describe()
    sources = [source["sha256"] for source in told.get("source", ()) if source.get("sha256")]
    if len(sources) == 1:
        return str(sources[0])
    made = sources or {key: told.get(key) for key in ("venue", "symbol", "seed", "minutes", "name")}
    physics = getattr(market, "physics", None)
    if physics is not None:
        made = [made, repr(physics)]
    return hashlib.sha256(json.dumps(made, sort_keys=True, default=str).encode()).hexdigest()
