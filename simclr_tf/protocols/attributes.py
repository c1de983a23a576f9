"""What the representation keeps (table 3), as a protocol."""

from __future__ import annotations

from simclr_tf.evaluation import attributes
from simclr_tf.models.endpoints import PROJECTED_ENDPOINT
from simclr_tf.progress import Progress
from simclr_tf.protocols.context import Context, Row, Section, unchanged
from simclr_tf.units import format_percent


def run(context: Context) -> Section:
    """Predicts colour, rotation, noise and Sobel filtering from h and from g(h).

    Raises:
        InputError: Too few images, or no such endpoint.
    """
    limit = context.settings.attribute_images
    counts = [min(limit, context.source.num_examples(split))
              for split in (context.train_split, context.test_split)]  # fmt: skip
    total = len(attributes.ATTRIBUTES) * sum(counts)
    with unchanged(context.encoder), Progress(total, label="table 3", unit="images") as bar:
        found = attributes.attribute_table(
            context.encoder.extractor(context.job, optional=(PROJECTED_ENDPOINT,)),
            context.images.eval_batches(context.train_split, limit, "train_split"),
            context.images.eval_batches(context.test_split, limit),
            seed=context.seed,
            limits=(limit, None),
            on_batch=lambda count: bar.update(count, count, {}),
        )
    rows = []
    for attribute in attributes.ATTRIBUTES:
        accuracies = found.accuracies[attribute.name]
        shown = [f"{'h' if key == 'h' else 'g(h)'}: {format_percent(accuracy)}"
                 for key, accuracy in accuracies.items()]  # fmt: skip
        chance = f"chance {format_percent(1 / attribute.num_values)}"
        rows.append(Row(attribute.title, ", ".join(shown), f"small MLP, {chance}"))
    return Section("What the representation keeps (table 3)", tuple(rows), found.accuracies,
                   tuple(found.notes))  # fmt: skip
