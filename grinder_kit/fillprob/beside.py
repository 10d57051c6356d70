"""A model's scores beside the specification's heuristic and the empirical curve of its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grinder_kit.fillprob.heuristic_model import HeuristicModel
from grinder_kit.fillprob.model import FillModel
from grinder_kit.fillprob.observations import observe
from grinder_kit.fillprob.scoring import Scores, score_observations

if TYPE_CHECKING:
    from grinder_kit.fillprob.labels import LabelSet
    from grinder_kit.market.source import Market


def score(model: FillModel, data: LabelSet | Market, *, queue: str = "power", in_sample: bool = False) -> Scores:
    """Return the scores of a model, of the heuristic, and of Kaplan-Meier as fitted on the model's own training.

    Parameters
    ----------
    model : FillModel
        The model; one that was never fitted has no Kaplan-Meier beside it.
    data : LabelSet or Market
        Labels, or a market that is labelled with the default options.
    queue : str
        Queue model that fills the labels.
    in_sample : bool
        Accept data that lie in the training.

    Raises
    ------
    ConfigError
        For data that lie in the training, unless accepted.
    """
    from grinder_kit.fillprob.labels import as_labels

    labels = as_labels(data)
    training = model.training
    seen_before = training is not None and training.overlaps(labels)
    if training is not None and not in_sample:
        training.check_unseen(labels)
    seen = observe(labels, queue)
    models: dict[str, FillModel] = {model.name: model}
    models.setdefault("heuristic", HeuristicModel())
    if training is not None and training.kaplan_meier is not None:
        models.setdefault("kaplan_meier", training.kaplan_meier)
    return score_observations(
        models,
        seen,
        sigma=seen.sigma if training is None else training.sigma,
        symbol=labels.symbol,
        window_ns=labels.window_ns,
        in_sample=seen_before,
    )
