"""What a fill explorer knows: models, labels, and what was made of them, so that nothing is computed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

import polars as pl

from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.labels import LabelOptions, LabelSet, label
from grinder_kit.fillprob.scoring import Scores
from grinder_kit.market.source import Market
from grinder_widgets import explorer_view as view
from grinder_widgets.explorer_evidence import Evidence, of_size
from grinder_widgets.explorer_models import Explored, named, training_of
from grinder_widgets.explorer_state import LATENCIES_MS, SIZES_QUOTE, ExplorerState
from grinder_widgets.explorer_work import Progress


class Data:
    """Models by name, the market or the labels given, and what was made of the labels for each queue model.

    Attributes
    ----------
    models : dict
    market : Market or None
        Labelled anew for another size or latency.
    given : LabelSet or None
        Labels instead of a market: they hold what they hold.
    labels : LabelSet or None
        Those that are shown; None before there are any.
    unscored : dict
        Why there are no scores under a queue model.

    Raises
    ------
    ConfigError
        For something that is no model or no market, and for a state that these cannot show.
    """

    def __init__(
        self,
        model: Explored | Mapping[str, Explored] | Iterable[Explored] | None,
        data: LabelSet | Market | None,
        state: ExplorerState,
    ) -> None:
        self.models = {} if model is None else named(model)
        if data is not None and not isinstance(data, LabelSet) and not hasattr(data, "describe"):
            raise ConfigError(f"the data are a {type(data).__name__}; pass labels, label(market), or a market")
        self.market = None if isinstance(data, LabelSet) else data
        self.given = self.labels = data if isinstance(data, LabelSet) else None
        self._check(state)
        self.forget()

    def _check(self, state: ExplorerState) -> None:
        if state.model is not None and self.models and state.model not in self.models:
            raise ConfigError(f'there is no model "{state.model}"; there are {", ".join(self.models)}')
        if self.given is not None:
            options = self.given.options
            if state.size_quote is not None and state.size_quote not in options.sizes_quote:
                sizes = ", ".join(f"{size:f}" for size in options.sizes_quote)
                raise ConfigError(
                    f"size_quote is {state.size_quote}; these labels hold {sizes}: pass the market instead"
                )
            if state.latency_ms not in (None, options.latency_ms):
                raise ConfigError(
                    f"latency_ms is {state.latency_ms:g}; these labels hold {options.latency_ms:g}: pass the market instead"
                )

    @property
    def key(self) -> str:
        """What tells explorers of the same models on the same data from others; empty without data."""
        if self.given is not None:
            about, symbol = self.given.market, self.given.symbol
        elif self.market is not None:
            about, symbol = self.market.describe(), self.market.instrument.symbol
        else:
            return ""
        return f"{about.get('name')} {symbol} {sorted(self.models)}"

    @property
    def sizes(self) -> tuple[Decimal, ...]:
        """Sizes that can be chosen, quote."""
        return SIZES_QUOTE if self.given is None else self.given.options.sizes_quote

    @property
    def latencies(self) -> tuple[float, ...]:
        """Latencies that can be chosen, ms."""
        return LATENCIES_MS if self.given is None else (self.given.options.latency_ms,)

    def size(self, state: ExplorerState) -> Decimal:
        """Return the notional of the orders that are shown, quote; there must be labels."""
        assert self.labels is not None  # the caller has looked
        sizes = self.labels.options.sizes_quote
        return state.size_quote if state.size_quote in sizes else sizes[0]

    def name(self, state: ExplorerState) -> str:
        """Return the name of the model that is shown; there must be models."""
        return state.model or next(iter(self.models))

    def evidence(self, state: ExplorerState) -> Evidence | None:
        """Return the labels as they are asked, None before there are any."""
        if self.labels is None or not self.models:
            return None
        queue = state.queue
        if queue not in self._evidence:
            trainings = [training_of(model, queue) for model in self.models.values()]
            labels = of_size(self.labels, self.size(state))
            self._evidence[queue] = Evidence.of(labels, tuple(one for one in trainings if one is not None), queue)
        return self._evidence[queue]

    def trained(self, state: ExplorerState) -> bool:
        """Return whether any model was fitted, rather than given by its prior."""
        return any(training_of(model, state.queue) is not None for model in self.models.values())

    def forget(self) -> None:
        """Forget what was made of other labels."""
        self._evidence: dict[str, Evidence] = {}
        self._scores: dict[str, tuple[Scores, dict[str, pl.DataFrame]]] = {}
        self.unscored: dict[str, str] = {}

    # --- what takes a while ------------------------------------------------------------------------------------------

    def labelling(self, size: Decimal, latency_ms: float) -> Callable[[Progress], LabelSet]:
        """Return what labels the market."""
        market = self.market
        assert market is not None  # the caller has looked

        def work(progress: Progress) -> LabelSet:
            read = 0

            def more(events: int) -> None:
                nonlocal read
                read += events
                progress(read)

            return label(market, options=LabelOptions(sizes_quote=(size,), latency_ms=latency_ms), progress=more)

        return work

    def relabelled(self, labels: LabelSet) -> None:
        """Take other labels."""
        self.labels = labels
        self.forget()

    def scoring(self, evidence: Evidence) -> Callable[[Progress], tuple[Scores, dict[str, pl.DataFrame]]]:
        """Return what scores all models on the evidence, with the bins of each."""
        models = dict(self.models)

        def work(progress: Progress) -> tuple[Scores, dict[str, pl.DataFrame]]:
            found = view.scores(models, evidence)
            bins = {}
            for name in models:
                progress(0)
                bins[name] = found.reliability(name)
            return found, bins

        return work

    def scored(self, queue: str, found: tuple[Scores, dict[str, pl.DataFrame]]) -> None:
        """Take the scores under a queue model."""
        self._scores[queue] = found

    def calibration(self, state: ExplorerState) -> view.Calibration | None:
        """Return how far the model that is shown can be trusted, None where it has not been scored."""
        if state.queue not in self._scores:
            return None
        scores, bins = self._scores[state.queue]
        name = self.name(state)
        return view.calibration(scores, bins[name], name, state.horizon_s)
