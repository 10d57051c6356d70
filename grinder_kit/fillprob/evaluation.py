"""From a market to a fitted model and its scores: the first part of the time trains, the rest tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grinder_kit.errors import DataError
from grinder_kit.fillprob.first_passage import FirstPassageModel, Parameters
from grinder_kit.fillprob.labels import LabelSet, as_labels
from grinder_kit.fillprob.markout import MarkoutModel
from grinder_kit.fillprob.scoring import Scores

if TYPE_CHECKING:
    from grinder_kit.fillprob.training import Training
    from grinder_kit.market.source import Market

FRACTION = 0.6


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation:
    """A fitted model and how it did on later data.

    Parameters
    ----------
    model : FirstPassageModel
        Fitted on the train part; its training knows the score.
    scores : Scores
        On the test part, beside heuristic and Kaplan-Meier.
    markout : MarkoutModel or None
        What a fill costs, fitted on the train part; None where none of it filled with market after it.
    """

    model: FirstPassageModel
    scores: Scores
    markout: MarkoutModel | None = None

    @property
    def training(self) -> Training:
        """What the model was fitted on."""
        assert self.model.training is not None  # evaluate() fitted it
        return self.model.training

    def to_json(self) -> dict[str, Any]:
        """Return scores by model, the parameters and the windows as JSON types."""
        training = self.training
        return {
            "models": self.scores.to_json(),
            "parameters": dict(zip(Parameters.__slots__, self.model.parameters, strict=True)),
            "window": {
                "venue": training.venue,
                "symbol": training.symbol,
                "queue": training.queue,
                "train_ns": list(training.window_ns),
                "test_ns": list(self.scores.window_ns),
            },
            "warning": training.warning,
        }

    def __repr__(self) -> str:
        training = self.training
        numbers = ", ".join(f"{name} {value:.2f}" for name, value in self.to_json()["parameters"].items())
        lines = [
            repr(self.scores),
            f"fitted on the {training.span_s:,.0f} s before ({training.rows:,} orders): {numbers}",
        ]
        return "\n".join([*lines, training.warning] if training.warning else lines)


def evaluate(data: LabelSet | Market, *, fraction: float = FRACTION, queue: str = "power") -> Evaluation:
    """Fit the first-passage model on the first part of the data and score it on the rest.

    Parameters
    ----------
    data : LabelSet or Market
        Labels, or a market that is labelled with the default options.
    fraction : float
        Of the time that trains; orders whose watch crosses the boundary are in neither part.
    queue : str
        Queue model that fills the labels.

    Raises
    ------
    ConfigError, DataError
        Where a part has no orders, or none with known inputs.
    """
    labels = as_labels(data)
    train, test = labels.split(fraction)
    model = FirstPassageModel().fit(train, queue)
    scores = model.score(test, queue=queue)
    assert model.training is not None
    model = replace(model, training=replace(model.training, score=scores.mean(model.name)))
    try:
        markout = MarkoutModel().fit(train)
    except DataError:
        markout = None
    return Evaluation(model=model, scores=scores, markout=markout)
