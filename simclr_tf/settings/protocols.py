"""Settings of the evaluation protocols; like `simclr_tf.config`, without TensorFlow.

Every field has the name of its flag. Defaults are the paper's (arXiv 2002.05709v3, appendix B);
the recipe `evaluate_cpu` has values for two cores. Lists are written with commas, as on a command
line, and come out of the properties as tuples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from simclr_tf.errors import InputError, require, require_choice
from simclr_tf.settings.checks import (
    BATCH,
    COUNT,
    FRACTION_OF_EPOCHS,
    NATURAL,
    POSITIVE_SHARE,
    RATE,
    TEMPERATURE,
    WEIGHT_DECAY,
    Range,
    check_settings,
    check_values,
    limited,
)

PROTOCOLS = ("linear", "knn", "logreg", "semi_supervised", "finetune", "supervised", "attributes",
             "distill", "transfer")  # fmt: skip
ALL = "all"

Value = TypeVar("Value")


def _listed(name: str, text: str, parse: Callable[[str], Value]) -> tuple[Value, ...]:
    try:
        values = tuple(parse(part.strip()) for part in str(text).split(",") if part.strip())
    except ValueError:
        kind = "whole numbers" if parse is int else "numbers"
        raise InputError(name, f"must be {kind} separated by commas", text) from None
    require(len(values) > 0, name, "must hold at least one value", text)
    require(len(set(values)) == len(values), name, "must not hold a value twice", text)
    return values


@dataclasses.dataclass(frozen=True)
class ProtocolConfig:
    """What `--mode=evaluate` does.

    Attributes:
        protocols: Names of `PROTOCOLS`, or `all`.
        endpoint: The representation that the frozen protocols use; h is `final_avg_pool`.
        feature_cache: Folder in which extracted features are kept for later commands.
        validation_split: Split expression that settings are chosen on. None holds
            `validation_fraction` of the training split out.
        validation_fraction: In (0, 0.5].
        linear_epochs: Of the linear head (B.6: 90).
        linear_batch_size: B.6: 4096. More than the training images means all of them.
        linear_learning_rates: Per 256 images, B.6: 0.1. Several are trained in one pass, and the
            best on validation images is the one that counts.
        linear_optimizer: `momentum` (Nesterov, B.6) or `lars`.
        knn_neighbors: Numbers of neighbours.
        knn_temperature: Of the votes' weights.
        logreg_values: How many L2 strengths, log-spaced from 1e-6 to 1e5 (B.8: 45).
        logreg_iterations: L-BFGS iterations at most for each of them.
        label_fractions: Class-balanced label subsets: shares (`1%`) or numbers (`25_per_class`).
        label_epochs: Epochs of fine-tuning for each of them (B.5: 60 for 1 %, 30 for 10 %).
        label_batch_size: B.5: 4096; more than the labelled images means all of them.
        label_learning_rate: Per 256 images, B.5: 0.05.
        scratch_learning_rate: The same for the baseline without pretraining.
        scratch_epochs_factor: Its epochs as a multiple (B.8 trains random weights twice as long).
        finetune_steps: B.8: 20,000.
        finetune_batch_size: B.8: 256.
        finetune_learning_rates: Peaks, not scaled; B.8: 7 values from 1e-4 to 1e-1.
        finetune_weight_decays: Each is divided by the learning rate; B.8: 0 and 7 values from 1e-6
            to 1e-3.
        finetune_after_block: As `fine_tune_after_block`.
        supervised_steps: Steps of the supervised baseline, of `train_batch_size` images; 0 gives
            it as many images as the encoder's training saw views.
        attribute_images: Images, at most, from which the colour, rotation, noise and Sobel
            predictors of table 3 learn, and on which they are tested.
        distill_width: Width of the student as a share of the encoder's (issue: one half).
        distill_labels: The label subset that the teacher was fine-tuned on.
        distill_steps: Of 128 images.
        transfer_datasets: Names of the paper's twelve data sets; `all`.
        transfer_finetune: Whether each of them is fine-tuned too, by the grid of `finetune_*`.
        transfer_image_size: Side that B.8 resizes to; 0 takes the encoder's.
        compare_with: Folder of another evaluation, whose predictions are tested against these.
        map_points: Images on the t-SNE map and in the TensorBoard projector; 0 leaves them out.
    """

    protocols: str = "linear,knn,logreg"
    endpoint: str = "final_avg_pool"
    feature_cache: str | None = None
    validation_split: str | None = None
    validation_fraction: float = limited(0.1, Range(0, 0.5, above=True))
    linear_epochs: float = limited(90, FRACTION_OF_EPOCHS)
    linear_batch_size: int = limited(4096, BATCH)
    linear_learning_rates: str = limited("0.1", RATE)
    linear_optimizer: str = "momentum"
    knn_neighbors: str = limited("1,5,10,20,50,100,200", Range(1, 10**6))
    knn_temperature: float = limited(0.07, TEMPERATURE)
    logreg_values: int = limited(45, Range(1, 1000))
    logreg_iterations: int = limited(200, Range(1, 10**6))
    label_fractions: str = "1%,10%"
    label_epochs: str = limited("60,30", FRACTION_OF_EPOCHS)
    label_batch_size: int = limited(4096, BATCH)
    label_learning_rate: float = limited(0.05, RATE)
    scratch_learning_rate: float = limited(0.5, RATE)
    scratch_epochs_factor: float = limited(2.0, Range(0, 1000, above=True))
    finetune_steps: int = limited(20_000, NATURAL)
    finetune_batch_size: int = limited(256, BATCH)
    finetune_learning_rates: str = limited("1e-4,3.16e-4,1e-3,3.16e-3,1e-2,3.16e-2,1e-1", RATE)
    finetune_weight_decays: str = limited(
        "0,1e-6,3.16e-6,1e-5,3.16e-5,1e-4,3.16e-4,1e-3", WEIGHT_DECAY
    )
    finetune_after_block: int = limited(-1, Range(-1, 4))
    supervised_steps: int = limited(0, COUNT)
    # twice the four rotations
    attribute_images: int = limited(20_000, Range(8, 10**9))
    distill_width: float = limited(0.5, POSITIVE_SHARE)
    distill_labels: str = "10%"
    distill_steps: int = limited(20_000, NATURAL)
    transfer_datasets: str = ALL
    transfer_finetune: bool = False
    transfer_image_size: int = limited(0, Range(0, 8192))
    compare_with: str | None = None
    # t-SNE takes hours for so many
    map_points: int = limited(2000, Range(0, 100_000))

    def __post_init__(self) -> None:
        check_settings(self)
        for name in self.names:
            require_choice("protocols", name, (ALL, *PROTOCOLS))
        require(bool(self.endpoint), "endpoint", "must name an endpoint", self.endpoint)
        require_choice("linear_optimizer", self.linear_optimizer, ("momentum", "lars"))
        require_choice("finetune_after_block", self.finetune_after_block, (-1, 0, 1, 2, 3, 4))
        self._check_lists()

    def _check_lists(self) -> None:
        lists = {
            "linear_learning_rates": self.linear_rates,
            "knn_neighbors": self.ks,
            "label_epochs": self.epochs,
            "finetune_learning_rates": self.finetune_rates,
            "finetune_weight_decays": self.finetune_decays,
        }
        for name, values in lists.items():
            check_values(self, name, values)
        counts = (len(self.epochs), len(self.fractions))
        require(counts[0] in (1, counts[1]), "label_epochs",
                f"must hold one number, or one for each of the {counts[1]} label_fractions",
                self.label_epochs)  # fmt: skip

    @property
    def names(self) -> tuple[str, ...]:
        """The protocols, in the order of `PROTOCOLS`."""
        if self.protocols.strip() == ALL:
            return PROTOCOLS
        asked = _listed("protocols", self.protocols, str)
        known = tuple(name for name in PROTOCOLS if name in asked)
        return known + tuple(name for name in asked if name not in PROTOCOLS)

    @property
    def linear_rates(self) -> tuple[float, ...]:
        """Learning rates of the linear heads, per 256 images."""
        return _listed("linear_learning_rates", self.linear_learning_rates, float)

    @property
    def ks(self) -> tuple[int, ...]:
        """Numbers of neighbours."""
        return _listed("knn_neighbors", self.knn_neighbors, int)

    @property
    def fractions(self) -> tuple[str, ...]:
        """Label subsets, as written."""
        return _listed("label_fractions", self.label_fractions, str)

    @property
    def epochs(self) -> tuple[float, ...]:
        """Epochs of fine-tuning: one for all label subsets, or one for each."""
        numbers = [part for part in str(self.label_epochs).split(",") if part.strip()]
        try:
            return tuple(float(number) for number in numbers)
        except ValueError:
            raise InputError("label_epochs", "must be numbers separated by commas",
                             self.label_epochs) from None  # fmt: skip

    @property
    def epochs_by_fraction(self) -> dict[str, float]:
        """Epochs of fine-tuning for each label subset."""
        repeated = self.epochs * len(self.fractions)  # one number serves them all
        return dict(zip(self.fractions, repeated, strict=False))

    @property
    def finetune_rates(self) -> tuple[float, ...]:
        """Peak learning rates of the fine-tuning grid."""
        return _listed("finetune_learning_rates", self.finetune_learning_rates, float)

    @property
    def finetune_decays(self) -> tuple[float, ...]:
        """Weight decays of the fine-tuning grid, before their division by the learning rate."""
        return _listed("finetune_weight_decays", self.finetune_weight_decays, float)

    @property
    def transfer_names(self) -> tuple[str, ...] | None:
        """The data sets of the transfer suite; None for all."""
        if self.transfer_datasets.strip() == ALL:
            return None
        return _listed("transfer_datasets", self.transfer_datasets, str)
