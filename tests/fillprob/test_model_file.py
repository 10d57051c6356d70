"""Model files: what is written is read, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.calibration import CalibratedModel
from grinder_kit.fillprob.first_passage import FirstPassageModel, Tail
from grinder_kit.fillprob.heuristic_model import HeuristicModel
from grinder_kit.fillprob.kaplan_meier import KaplanMeierModel
from grinder_kit.fillprob.model import FillModel
from grinder_kit.fillprob.model_file import load_model, save_model
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
    path.write_text(json.dumps({**content, "version": 2}), encoding="utf-8")
    with pytest.raises(DataError, match="is of version 2, this is version 1"):
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
