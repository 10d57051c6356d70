"""Labels and models for tests of the fill explorer, made once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import grinder_kit as gk
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.labels import LabelSet, label
from grinder_widgets.explorer_evidence import Evidence
from grinder_widgets.explorer_models import Asked
from grinder_widgets.explorer_state import ExplorerState
from grinder_widgets.explorer_view import asked_by

MINUTES = 8


@lru_cache
def parts() -> tuple[LabelSet, LabelSet]:
    """Return labels of a synthetic market: train and test."""
    return label(gk.synthetic_market(seed=7, minutes=MINUTES)).split(0.6)


@lru_cache
def fitted() -> FirstPassageModel:
    """Return a model fitted on the train part."""
    return FirstPassageModel().fit(parts()[0])


@lru_cache
def evidence(queue: str = "power") -> Evidence:
    """Return the test part as an explorer asks it."""
    training = fitted().training
    assert training is not None
    return Evidence.of(parts()[1], (training,), queue)


def asked(**state: Any) -> Asked:
    """Return the order that a state asks about."""
    return asked_by(ExplorerState(**state), evidence())
