"""Fine-tuning on all labels (B.8): a grid of learning rates and weight decays."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from simclr_tf.errors import first_line, require
from simclr_tf.protocols.context import Context, Row, Section
from simclr_tf.protocols.fitting import (
    Score,
    TrainImages,
    build_classifier,
    fit,
    momentum_optimizer,
    plan_steps,
    require_network,
    score,
)
from simclr_tf.training.loop import NonFiniteLossError
from simclr_tf.units import format_percent


def check(context: Context) -> None:
    """Refuses an encoder that can't be trained."""
    require_network(context.encoder, "fine-tuning")


def run(context: Context) -> Section:
    """Chooses learning rate and weight decay on validation images, then trains on all of them.

    Raises:
        InputError: No labels, or the encoder is no SimCLR network.
    """
    found = finetune_grid(context, context.train_parts(), "finetune")
    return Section("Fine-tuning (B.8)", (found.row("Fine-tuned"),), found.metrics())


class Finetuned(NamedTuple):
    """The last training of the protocol, and how its settings were chosen."""

    score: Score
    learning_rate: float
    weight_decay: float
    cells: list[dict[str, float]]
    how: str

    def row(self, what: str, metric: str = "top_1") -> Row:
        """The line of the scoreboard; `metric` is a field of `Score`."""
        return Row(what, format_percent(getattr(self.score, metric)), self.how)

    def metrics(self) -> dict[str, Any]:
        """Everything, for `result.json`."""
        return {**self.score.metrics(), "learning_rate": self.learning_rate,
                "weight_decay": self.weight_decay, "grid": self.cells}  # fmt: skip


def finetune_grid(
    context: Context, parts: tuple[str, str], name: str, metric: str = "top_1"
) -> Finetuned:
    """The protocol on the data set of `context`.

    Every cell of the grid starts from the encoder; one that diverges scores 0. Where the grid has
    one cell it is trained on all labelled images at once.

    Args:
        context: Encoder, data set and settings.
        parts: Split expressions to train on and to choose on.
        name: Of the stored predictions.
        metric: Field of `Score` that decides.
    """
    settings = context.settings
    grid = list(itertools.product(settings.finetune_rates, settings.finetune_decays))
    cells: list[dict[str, float]] = []
    rate, decay = grid[0]
    if len(grid) > 1:
        for rate, decay in grid:
            value = _validated(context, parts, rate, decay, metric)
            cells.append({"learning_rate": rate, "weight_decay": decay, "validation": value})
        best = max(cells, key=lambda cell: cell["validation"])
        require(
            best["validation"] > 0,
            "finetune_learning_rates",
            "must hold one that does not diverge",
            settings.finetune_learning_rates,
        )
        rate, decay = best["learning_rate"], best["weight_decay"]
    final = _train(context, context.labelled_split, context.test_split, rate, decay)
    context.write_predictions(name, final.labels, final.logits)
    how = (f"{settings.finetune_steps} steps of {settings.finetune_batch_size}, learning rate "
           f"{rate:g}, weight decay {decay:g} / learning rate")  # fmt: skip
    if len(grid) > 1:
        how += f" (best of {len(grid)} on {parts[1]})"
    return Finetuned(final, rate, decay, cells, how)


def _validated(
    context: Context, parts: tuple[str, str], rate: float, decay: float, metric: str
) -> float:
    """The validation score of a cell of the grid; 0 for one that diverges."""
    try:
        return getattr(_train(context, *parts, rate, decay), metric)
    except NonFiniteLossError as error:
        context.say(f"note: learning rate {rate:g}, weight decay {decay:g}: {first_line(error)}")
        return 0.0


def batch_norm_decay(steps_per_epoch: int) -> float:
    """The paper's BN momentum for fine-tuning, max(1 - 10 / s, 0.9), with s steps an epoch."""
    return max(1 - 10 / max(steps_per_epoch, 1), 0.9)


def _train(context: Context, train_split: str, test_split: str, rate: float, decay: float) -> Score:
    settings, source = context.settings, context.source
    images = TrainImages(source, train_split)
    count = images.num_images
    batch_size = context.batch_size(settings.finetune_batch_size, count)
    # B.8 gives the decay divided by the learning rate.
    optimizer = momentum_optimizer(rate, batch_size, weight_decay=decay / rate)
    plan = plan_steps(settings.finetune_steps, batch_size, optimizer, count)
    model = build_classifier(
        context,
        pretrained=True,
        ft_proj_selector=context.ft_proj_selector,
        after_block=settings.finetune_after_block,
        batch_norm_decay=batch_norm_decay(count // batch_size),
    )
    label = f"fine-tuning, learning rate {rate:g}, decay {decay:g}"
    fit(context, model, images, plan, label)
    return score(context, model, test_split)
