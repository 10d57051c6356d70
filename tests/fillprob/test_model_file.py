"""Model files: what is written is read, and nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.calibration import CalibratedModel
from grinder_kit.fillprob.first_passage import FirstPassageModel, Tail
from grinder_kit.fillprob.heuristic_model import HeuristicModel
from grinder_kit.fillprob.kaplan_meier import KaplanMeierModel
from grinder_kit.fillprob.markout import MarkoutModel
from grinder_kit.fillprob.model import FillModel
from grinder_kit.fillprob.model_file import (
    Fitted,
    fitted_for,
    load_fitted,
    load_model,
    model_sha256,
    save_model,
)
from grinder_kit.model.config import Config, GridConfig
from tests.fillprob.simulated import label_set, orders, passage_times


def _models() -> list[FillModel]:
    x = orders(200, seed=1)
    labels = label_set(x, passage_times(x, seed=2))
    fitted = FirstPassageModel().fit(labels)
    return [
        FirstPassageModel(),
        fitted,
        FirstPassageModel(tail=Tail.NORMAL).fit(labels),
        KaplanMeierModel().fit(labels),
        CalibratedModel(inner=FirstPassageModel()).fit(labels),
    ]


@pytest.mark.parametrize("model", _models(), ids=["prior", "fitted", "normal", "kaplan_meier", "calibrated"])
def test_a_model_comes_back_as_it_was(model: FillModel, tmp_path: Path) -> None:
    """A model that was saved and loaded is the same, answers the same, and remembers its training."""
    path = save_model(model, tmp_path / "model.json")
    loaded = load_model(path)
    assert loaded == model
    x = orders(2, seed=3)
    assert (loaded.predict(x, 10.0) == model.predict(x, 10.0)).all()
    assert loaded.training == model.training
    assert save_model(loaded, tmp_path / "again.json").read_bytes() == path.read_bytes()


def _written(folder: Path) -> tuple[Path, dict[str, object]]:
    path = save_model(FirstPassageModel(), folder / "model.json")
    return path, json.loads(path.read_text(encoding="utf-8"))


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    """A number that was changed, and a hash that is missing, are an error."""
    path, content = _written(tmp_path)
    changed = json.loads(json.dumps(content))
    changed["model"]["parameters"]["b0"] = 0.57
    path.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(DataError, match=r"was changed after it was written .*; fit the model again"):
        load_model(path)
    del content["sha256"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match="was changed"):
        load_model(path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    """A file of another version is an error that says both."""
    path, content = _written(tmp_path)
    path.write_text(json.dumps({**content, "version": 3}), encoding="utf-8")
    with pytest.raises(DataError, match="is of version 3, this is version 2"):
        load_model(path)


@pytest.mark.parametrize(
    ("text", "words"), [("{", "is no JSON"), ("[]", "is no fill model"), ('{"format": "x"}', "is no fill model")]
)
def test_a_file_that_is_no_model_is_refused(text: str, words: str, tmp_path: Path) -> None:
    """Other files are an error."""
    path = tmp_path / "model.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        load_model(path)
    with pytest.raises(DataError, match="No such file"):
        load_model(tmp_path / "nowhere.json")


def test_a_model_that_learns_nothing_has_no_file(tmp_path: Path) -> None:
    """The heuristic is not saved."""
    with pytest.raises(ConfigError, match="heuristic has no file format"):
        save_model(HeuristicModel(), tmp_path / "model.json")


def test_the_training_is_in_the_file(tmp_path: Path) -> None:
    """Window, source and queue model of the training stand in the file as text."""
    x = orders(200, seed=1)
    labels = label_set(x, passage_times(x, seed=2))
    path = save_model(FirstPassageModel().fit(labels), tmp_path / "model.json")
    training = json.loads(path.read_text(encoding="utf-8"))["model"]["training"]
    assert training["symbol"] == "BTCUSDT" and training["queue"] == "power"
    assert training["window_ns"] == list(labels.window_ns)
    assert training["rows"] == len(labels) and np.isfinite(training["sigma"])


# --- the markout beside it, and the configuration that names both -----------------------------------------------------


def test_the_markout_stands_beside_the_model(tmp_path: Path) -> None:
    """Both come back as they were, under one hash; a file without one says so by None."""
    markout = MarkoutModel(horizon_s=1, theta=(-0.7, 0.1, -0.2, 0.3), fills=123)
    with_it = load_fitted(save_model(FirstPassageModel(), tmp_path / "both.json", markout=markout))
    assert with_it == Fitted(
        model=FirstPassageModel(), markout=markout, sha256=model_sha256(FirstPassageModel(), markout)
    )
    alone = load_fitted(save_model(FirstPassageModel(), tmp_path / "alone.json"))
    assert alone.markout is None and alone.sha256 == model_sha256(FirstPassageModel()) != with_it.sha256


def test_a_file_of_the_first_version_is_still_read(tmp_path: Path) -> None:
    """It has no markout."""
    path, content = _written(tmp_path)
    content = {"format": "grinder-fill-model", "version": 1, "model": content["model"]}
    sha256 = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**content, "sha256": sha256}), encoding="utf-8")
    assert load_fitted(path) == Fitted(model=FirstPassageModel(), markout=None, sha256=sha256)
    assert fitted_for(_config(path, sha256)) == load_fitted(path)


def _config(path: Path | str | None, sha256: str, **changes: object) -> Config:
    config = Config(grid=GridConfig(spacing_bps=8, size="0.002"))
    return config.replace(
        **{"fill_model.file": None if path is None else str(path), "fill_model.sha256": sha256, **changes}
    )


def test_a_configuration_gets_the_model_that_it_names(tmp_path: Path) -> None:
    """By its file, or the one that is given; none is the heuristic."""
    assert fitted_for(Config(grid=GridConfig(spacing_bps=8, size="0.002"))) is None
    path = save_model(FirstPassageModel(), tmp_path / "model.json")
    fitted = load_fitted(path)
    assert fitted_for(_config(path, fitted.sha256)) == fitted
    assert fitted_for(_config(None, fitted.sha256), FirstPassageModel()) == fitted
    heuristic = fitted_for(Config(grid=GridConfig(spacing_bps=8, size="0.002")), HeuristicModel())
    assert heuristic is not None and heuristic.sha256 == model_sha256(HeuristicModel()) != fitted.sha256


def test_what_a_configuration_cannot_get_is_refused(tmp_path: Path) -> None:
    """A file that is missing, changed, of another version or another model, a horizon beyond its data: by key, and what to do."""
    path = save_model(FirstPassageModel(), tmp_path / "model.json")
    sha256, other = load_fitted(path).sha256, "0" * 64

    def refused(config: Config, words: str, given: FillModel | None = None) -> None:
        with pytest.raises(ConfigError, match=words):
            fitted_for(config, given)

    refused(_config(tmp_path / "nowhere.json", sha256), r"fill_model\.file: .*nowhere\.json: No such file")
    refused(_config(None, sha256), r"fill_model\.file is missing: .*and not where it lies; write file = ")
    refused(
        _config(path, other), rf'fill_model\.sha256 is 0{{12}}\.\.\., and .*write sha256 = "{sha256}" to take this one'
    )
    refused(
        _config(path, sha256, **{"grid.fill_horizon_s": 900}),
        "fill_horizon_s is 900, and the data of model first_passage",
    )
    refused(_config(None, other), "and the given model is .*: give none, or take", FirstPassageModel())
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "version": 3}), encoding="utf-8")
    refused(_config(path, sha256), r"fill_model\.file: .*is of version 3, this is version 2")
    content["model"]["parameters"]["b0"] = 9.0
    path.write_text(json.dumps(content), encoding="utf-8")
    refused(_config(path, sha256), r"fill_model\.file: .*was changed after it was written")
