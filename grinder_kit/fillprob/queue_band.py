"""How sure a probability is: the same model under every queue model, each with the uncertainty of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.model import Floats, Inputs

if TYPE_CHECKING:
    from grinder_kit.fillprob.labels import LabelSet


#: What the queue may do, from the most careful to the most hopeful; the touch rule is none of them.
QUEUES = ("risk_averse", "power", "pro_rata", "optimistic")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBand:
    """One model for each queue model. Away from the touch they hardly differ; at the touch nobody knows the queue.

    Parameters
    ----------
    models : mapping
        By the name of the queue model.
    """

    models: Mapping[str, FirstPassageModel]

    def predict(
        self, x: Inputs, horizon_s: npt.ArrayLike, *, level: float = 0.9, extrapolate: bool = False
    ) -> tuple[Floats, Floats, Floats]:
        """Return (low, middle, high): the lowest and highest end of the models' own bands, and the power model's probability."""
        bands = [model.band(x, horizon_s, level=level, extrapolate=extrapolate) for model in self.models.values()]
        low = np.min([band[0] for band in bands], axis=0)
        high = np.max([band[1] for band in bands], axis=0)
        return low, self.models["power"].predict(x, horizon_s, extrapolate=extrapolate), high


def fit_queues(labels: LabelSet, model: FirstPassageModel | None = None) -> QueueBand:
    """Return a model fitted under each queue model.

    Raises
    ------
    DataError
        Where no label has known inputs.
    """
    start = (model or FirstPassageModel()).fit(labels, "power")
    return QueueBand(models={queue: start if queue == "power" else start.fit(labels, queue) for queue in QUEUES})
