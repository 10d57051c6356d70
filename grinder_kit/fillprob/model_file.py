"""Fitted models as JSON files, with what they were fitted on and a hash over everything.

Version 2 may hold a second part beside the model: the markout given a fill, from which levels are valued. Version 1 had none, and
is still read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.calibration import KNOTS, CalibratedModel
from grinder_kit.fillprob.first_passage import FirstPassageModel, Parameters, Tail
from grinder_kit.fillprob.kaplan_meier import DISTANCES_BPS, TIMES_S, KaplanMeierModel
from grinder_kit.fillprob.markout import MarkoutModel
from grinder_kit.fillprob.model import FillModel
from grinder_kit.fillprob.training import Training
from grinder_kit.model.config import Config

FORMAT, VERSION = "grinder-fill-model", 2
READS = (1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a model file holds.

    Parameters
    ----------
    model : FillModel
        How likely an order fills.
    markout : MarkoutModel or None
        What a fill costs; None where the file does not say.
    sha256 : str
        Hash of both, by which a configuration names them.
    """

    model: FillModel
    markout: MarkoutModel | None
    sha256: str


def save_model(model: FillModel, path: Path | str, *, markout: MarkoutModel | None = None) -> Path:
    """Write a model, and the markout fitted on the same data where there is one; the same values give the same bytes.

    Raises
    ------
    ConfigError
        For a model that has no file format.
    """
    path = Path(path)
    content = _content(model, markout)
    path.write_text(json.dumps({**content, "sha256": _hash(content)}, indent=2) + "\n", encoding="utf-8")
    return path


def load_model(path: Path | str) -> FillModel:
    """Read a model.

    Raises
    ------
    DataError
        As :func:`load_fitted`.
    """
    return load_fitted(path).model


def fitted_for(config: Config, given: FillModel | Fitted | None = None) -> Fitted | None:
    """Return what a configuration's levels are judged by, None where that is the specification's heuristic.

    Replays and sessions read it here, before anything is started.

    Parameters
    ----------
    config : Config
    given : FillModel or Fitted, optional
        A model that is at hand; no file is read then.

    Raises
    ------
    ConfigError
        A file that is missing, no model, of another version, changed, or of another model than the configuration names; a horizon
        that its model does not know; a given model that is not the one that the configuration names.
    """
    named = config.fill_model
    if given is not None:
        fitted = given if isinstance(given, Fitted) else Fitted(model=given, markout=None, sha256=model_sha256(given))
        if named is not None and named.sha256 != fitted.sha256:
            raise ConfigError(
                f"fill_model.sha256 is {named.sha256[:12]}..., and the given model is {fitted.sha256[:12]}...: give none, or take "
                "[fill_model] out"
            )
        return fitted
    if named is None:
        return None
    if named.file is None:
        raise ConfigError(
            f"fill_model.file is missing: the configuration names the model sha256 {named.sha256[:12]}..., and not where it lies; "
            'write file = "model.json"'
        )
    try:
        fitted = load_fitted(named.file)
    except DataError as error:
        raise ConfigError(f"fill_model.file: {error}") from error
    if fitted.sha256 != named.sha256:
        raise ConfigError(
            f"fill_model.sha256 is {named.sha256[:12]}..., and {named.file} holds the model {fitted.sha256[:12]}...: put the named "
            f'one there, or write sha256 = "{fitted.sha256}" to take this one'
        )
    if config.grid.fill_horizon_s > fitted.model.span_s:
        raise ConfigError(
            f"fill_horizon_s is {config.grid.fill_horizon_s:g}, and the data of model {fitted.model.name} span "
            f"{fitted.model.span_s:,.0f} s; write less, or fit the model on more"
        )
    return fitted


def model_sha256(model: FillModel, markout: MarkoutModel | None = None) -> str:
    """Return the hash by which a configuration names a model; one that has no file is known by what it prints."""
    try:
        content = _content(model, markout)
    except ConfigError:
        content = {"format": FORMAT, "version": VERSION, "model": repr(model)}
    return _hash(content)


def load_fitted(path: Path | str) -> Fitted:
    """Read what a model file holds.

    Raises
    ------
    DataError
        A file that is no model, of a version that is not read here, or changed since it was written.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; write the path of a file that save_model wrote") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}); fit the model again, and save it with save_model") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path} is no fill model; write the path of a file that save_model wrote")
    if content.get("version") not in READS:
        raise DataError(
            f"{path} is of version {content.get('version')}, this is version {VERSION}: the numbers may mean something else; "
            "fit the model again"
        )
    given = content.pop("sha256", None)
    if given != _hash(content):
        raise DataError(f"{path} was changed after it was written (its sha256 differs); fit the model again")
    markout = content.get("markout")
    return Fitted(
        model=_from_json(content["model"]), markout=None if markout is None else _markout(markout), sha256=given
    )


def _content(model: FillModel, markout: MarkoutModel | None) -> dict[str, Any]:
    content = {"format": FORMAT, "version": VERSION, "model": _to_json(model)}
    return content if markout is None else {**content, "markout": asdict(markout)}


def _markout(values: dict[str, Any]) -> MarkoutModel:
    covariance = tuple(tuple(row) for row in values["covariance"])
    return MarkoutModel(**{**values, "theta": tuple(values["theta"]), "covariance": covariance})


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _to_json(model: FillModel) -> dict[str, Any]:
    training = None if model.training is None else model.training.to_json()
    if isinstance(model, FirstPassageModel):
        numbers = {
            name: dict(zip(Parameters.__slots__, getattr(model, name), strict=True))
            for name in ("parameters", "prior", "spread")
        }
        covariance = [list(row) for row in model.covariance]
        return {
            "name": model.name, "tail": str(model.tail), **numbers, "covariance": covariance, "training": training,
        }  # fmt: skip
    if isinstance(model, KaplanMeierModel):
        curves = [list(curve) for curve in model.curves]
        return {
            "name": model.name, "distances_bps": list(DISTANCES_BPS), "times_s": list(TIMES_S), "curves": curves,
            "training": training,
        }  # fmt: skip
    if isinstance(model, CalibratedModel):
        return {
            "name": model.name,
            "knots": list(KNOTS),
            "values": list(model.values),
            "prior_orders": model.prior_orders,
            "inner": _to_json(model.inner),
        }
    raise ConfigError(f"{model.name} has no file format: it learns nothing; make it again where it is needed")


def _from_json(values: dict[str, Any]) -> FillModel:
    if "inner" in values:
        return CalibratedModel(
            inner=_from_json(values["inner"]), values=tuple(values["values"]), prior_orders=values["prior_orders"]
        )
    training = None if values["training"] is None else Training.from_json(values["training"])
    if values["name"] == "kaplan_meier":
        return KaplanMeierModel(curves=tuple(tuple(curve) for curve in values["curves"]), training=training)
    return FirstPassageModel(
        tail=Tail(values["tail"]),
        parameters=Parameters(**values["parameters"]),
        prior=Parameters(**values["prior"]),
        spread=Parameters(**values["spread"]),
        covariance=tuple(tuple(row) for row in values["covariance"]),
        training=training,
    )
