"""Rates over time: the paper's plateau, and the notebook's steps. Each change gives its reason, for the log."""

from __future__ import annotations

from dataclasses import dataclass, field

from alexnet_cli.recipes.recipe import Input, Training


@dataclass
class Schedule:
    """The state of the rates; everything in it goes into a checkpoint."""

    rate: float
    colour_noise: float
    layers: dict[str, float] = field(default_factory=dict)
    """Layers with a rate of their own."""
    drops: int = 0
    best: float | None = None
    since_best: int = 0
    finished: bool = False

    @classmethod
    def start(cls, training: Training, input_: Input) -> Schedule:
        """As the recipe begins."""
        return cls(rate=training.rate, colour_noise=input_.colour_noise, layers=dict(training.layer_rates))

    def rates(self, training: Training, names: list[str]) -> dict[str, float]:
        """ε by parameter name (`conv1.weight`): a layer's own, else the common one; biases may have theirs.

        0 for a layer that the recipe's `trained` leaves out.
        """
        found = {}
        for name in names:
            layer, _, kind = name.partition(".")
            rate = self.layers.get(layer, self.rate)
            if training.trained and layer not in training.trained:
                rate = 0.0
            if kind == "bias" and rate > 0:
                own = training.bias_rate if training.bias_rate is not None else rate * training.bias_rate_factor
                rate = training.layer_bias_rates.get(layer, own)
            found[name] = rate
        return found

    def begin_epoch(self, training: Training, epoch: int) -> list[str]:
        """Apply the step schedule's changes of an epoch, counted from 1; what changed, in words."""
        reasons = []
        for change in training.changes if training.schedule == "steps" else ():
            if change.epoch != epoch:
                continue
            if change.rate is not None:
                self.rate = change.rate
                reasons.append(f"rate {change.rate:g} from epoch {epoch} on: the recipe's step")
            for layer, rate in change.layers.items():
                self.layers[layer] = rate
                reasons.append(
                    f"{layer} {f'rate {rate:g}' if rate else 'frozen'} from epoch {epoch} on: the recipe's step"
                )
            if change.colour_noise is not None:
                self.colour_noise = change.colour_noise
                strength = f"{change.colour_noise:g}" if change.colour_noise else "off"
                reasons.append(f"colour noise {strength} from epoch {epoch} on: the recipe's step")
        return reasons

    def end_epoch(self, training: Training, epoch: int, error: float | None) -> str | None:
        """Look at the validation error after an epoch: a drop of the rate, or the end, in words; None for neither."""
        if error is not None and (self.best is None or error < self.best):
            self.best, self.since_best = error, 0
        else:
            self.since_best += 1
        if training.schedule != "plateau" or self.since_best < training.patience:
            return None
        epochs = "1 epoch" if self.since_best == 1 else f"{self.since_best} epochs"
        reason = f"no lower validation error than {100 * (self.best or 0):.2f}% in {epochs}"
        if self.drops >= training.drops:
            self.finished = True
            return f"training ends after epoch {epoch}: {reason}, and the rate was dropped {self.drops} times"
        self.drops += 1
        self.since_best = 0
        self.rate /= training.drop_factor
        self.layers = {layer: rate / training.drop_factor for layer, rate in self.layers.items()}
        return f"rate {self.rate:g} from epoch {epoch + 1} on: {reason}"
