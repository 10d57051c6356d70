"""A part of a market on which trials run: as sweeps where it can, and equal to replays."""

from __future__ import annotations

import grinder_kit as gk
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.model_file import Fitted, fitted_for
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.tuning.part import Part

MARKET = gk.synthetic_market(seed=7, minutes=3)
CONFIG = Config(grid=GridConfig(spacing_bps=3, levels=4, size="0.01", min_fill_prob=0.2))


def fitted() -> Fitted:
    """Return a model as a configuration would name it."""
    found = fitted_for(CONFIG, FirstPassageModel())
    assert found is not None
    return found


def test_levels_filtered_by_a_model_are_swept() -> None:
    """A model whose probability is compiled keeps nothing out, and trials earn what a replay with it earns."""
    part = Part(MARKET, block_s=10.0, model=fitted())
    assert part.kept_out(CONFIG) is None
    (outcome,) = part.run([CONFIG])
    result = gk.replay(MARKET, CONFIG, model=fitted(), engine="event")
    assert (outcome.net, outcome.fills) == (result.summary["equity"], result.summary["trades"]) and outcome.fills
    assert outcome.kept_out is None


def test_a_model_that_is_not_compiled_is_replayed() -> None:
    """With another model the trial is replayed, and says which key kept it out."""
    other = fitted_for(CONFIG, gk.KaplanMeierModel().fit(gk.label(MARKET)))
    part = Part(MARKET, block_s=10.0, model=other)
    assert part.kept_out(CONFIG) == "grid.min_fill_prob"
    (outcome,) = part.run([CONFIG])
    result = gk.replay(MARKET, CONFIG, model=other)
    assert (outcome.net, outcome.fills, outcome.kept_out) == (
        result.summary["equity"], result.summary["trades"], "grid.min_fill_prob",
    )  # fmt: skip
