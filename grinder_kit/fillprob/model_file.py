"""Fitted models as JSON files, with what they were fitted on and a hash over everything."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.calibration import KNOTS, CalibratedModel
from grinder_kit.fillprob.first_passage import FirstPassageModel, Parameters, Tail
from grinder_kit.fillprob.kaplan_meier import DISTANCES_BPS, TIMES_S, KaplanMeierModel
from grinder_kit.fillprob.model import FillModel
from grinder_kit.fillprob.training import Training

FORMAT, VERSION = "grinder-fill-model", 1


def save_model(model: FillModel, path: Path | str) -> Path:
    """Write a model; the same model gives the same bytes.

    Raises
    ------
    ConfigError
        For a model that has no file format.
    """
    path = Path(path)
    content = {"format": FORMAT, "version": VERSION, "model": _to_json(model)}
    path.write_text(json.dumps({**content, "sha256": _hash(content)}, indent=2) + "\n", encoding="utf-8")
    return path


def load_model(path: Path | str) -> FillModel:
    """Read a model.

    Raises
    ------
    DataError
        A file that is no model, of another version, or changed since it was written.
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
    if content.get("version") != VERSION:
        raise DataError(
            f"{path} is of version {content.get('version')}, this is version {VERSION}: the numbers may mean something else; "
            "fit the model again"
        )
    given = content.pop("sha256", None)
    if given != _hash(content):
        raise DataError(f"{path} was changed after it was written (its sha256 differs); fit the model again")
    return _from_json(content["model"])


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
