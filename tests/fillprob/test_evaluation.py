"""`grinder fit`: from a market to a model, its scores and its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grinder_kit.cli import main
from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.evaluation import evaluate
from grinder_kit.fillprob.labels import label
from grinder_kit.fillprob.model_file import load_model
from grinder_kit.market.recording import Recording
from grinder_kit.market.synthetic import synthetic_market

MARKET = "synthetic seed=7 minutes=5"


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Run the command line; return its code, stdout and stderr."""
    with pytest.raises(SystemExit) as stopped:
        main(list(args))
    printed = capsys.readouterr()
    return int(stopped.value.code or 0), printed.out, printed.err


def test_fit_prints_what_programs_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The JSON has scores by model and horizon, the parameters and the windows; the file holds the same model and its score."""
    path = tmp_path / "model.json"
    code, out, _ = run(capsys, "fit", "--data", MARKET, "--out", str(path), "--json")
    assert code == 0
    data = json.loads(out)
    assert set(data["models"]) == {"first_passage", "heuristic", "kaplan_meier"}
    for scores in data["models"].values():
        assert list(scores["log_loss"]) == ["1", "5", "10", "30", "60", "mean"]
        assert {"brier", "ece", "auc"} <= set(scores)
    assert set(data["parameters"]) == {"b0", "b1", "lc", "ls", "g0", "g1", "k"}
    assert data["window"]["train_ns"][1] <= data["window"]["test_ns"][0]
    training = load_model(path).training
    assert training is not None and training.score == data["models"]["first_passage"]["log_loss"]["mean"]


def test_fit_speaks_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json it prints the table and the parameters."""
    code, out, _ = run(capsys, "fit", "--data", MARKET)
    assert code == 0 and "kaplan_meier" in out and "b1 " in out


def test_a_market_that_is_too_short_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """An order is watched for a minute: of two minutes no part trains, and the error says what to do."""
    code, _, err = run(capsys, "fit", "--data", "synthetic seed=7 minutes=1")
    assert code == 2 and "use more data" in err
    with pytest.raises(ConfigError, match="fraction is 2"):
        evaluate(synthetic_market(seed=7, minutes=2), fraction=2)


def test_the_model_beats_the_heuristic_on_a_recording(btc_recording: Recording) -> None:
    """On the recording of BTCUSDT it is at least 18 % below the heuristic, below Kaplan-Meier, and calibrated within .065."""
    found = evaluate(label(btc_recording))
    loss = {name: found.scores.mean(name) for name in ("first_passage", "heuristic", "kaplan_meier")}
    assert loss["first_passage"] < 0.82 * loss["heuristic"]
    assert loss["first_passage"] < loss["kaplan_meier"]
    assert found.scores.mean("first_passage", "ece") < 0.065
    assert 1.8 < found.model.parameters.b1 < 2.2
