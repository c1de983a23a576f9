"""Keeps what the page of a run shows, and writes the page, while the run goes on."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from simclr_tf import run_folder
from simclr_tf.augment.description import in_words
from simclr_tf.console import Say
from simclr_tf.data import holdout
from simclr_tf.data.images import Batches
from simclr_tf.data.samples import SampleViews, example_batches
from simclr_tf.distribution import Part
from simclr_tf.errors import one_line
from simclr_tf.evaluation import results, verdict
from simclr_tf.evaluation.evaluate import Evaluation
from simclr_tf.evaluation.features import Extractor, Features
from simclr_tf.evaluation.quality import Quality
from simclr_tf.evaluation.unlabelled import Shown, fewest_images, measure
from simclr_tf.experiment import Experiment
from simclr_tf.files import is_remote, remove_leftovers, write_json
from simclr_tf.json_files import find_or_set_aside
from simclr_tf.report import kept, machine, pictures
from simclr_tf.report.embedding_map import embedding_map

# Shares of the time that training takes, and guesses of the first time in seconds: looking at
# the encoder, and writing the page.
_LOOKING, _WRITING = (0.015, 3.0), (0.01, 1.0)
_MOST_STARTS = 20
_MAP_ITERATIONS = 500
_FEWEST = 2  # dimensions and examples of a projector
# Figures without labels take five forward passes of an image, twice: one image for so many views
# that training sees is at most a third of its work.
_VIEWS_PER_IMAGE, _FEWEST_LOOKED_AT = 10, 64


class _Time:
    """What something takes of the time of a training.

    Args:
        share: Of it that may be taken.
        guess: Seconds of the first time.
    """

    def __init__(self, share: float, guess: float):
        self._share, self._last, self._spent = share, guess, 0.0

    def allows(self, passed: float) -> bool:
        """Whether it may be done once more, `passed` seconds after the start."""
        return self._spent + self._last <= self._share * passed

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Counts what the block takes."""
        started = time.monotonic()
        yield
        self._last = time.monotonic() - started
        self._spent += self._last


class Reporter:
    """The page of a run, from its start to its end.

    All workers make the same calls, since the encoder may be spread over them; the chief writes.
    What goes wrong with the page is said and stops no training.

    Args:
        experiment: The run.
        encoder: What it trains, at work.
        first: The same of the weights that the run started from.
    """

    def __init__(self, experiment: Experiment, encoder: Extractor, first: Callable[[], Extractor]):
        self._experiment, self._encoder, self._first = experiment, encoder, first
        self._job, self._say = experiment.job, experiment.job.say
        self._chief = self._job.is_chief
        self._folder = experiment.run.model_dir
        self._before: Features | None = None
        self._shown: Shown | None = None
        self._quality_before: Quality | None = None
        self._last: tuple[int, dict[str, float]] | None = None  # step of the last look, and figures
        self._images: np.ndarray | None = None
        self._started = time.monotonic()
        self._looking, self._writing = _Time(*_LOOKING), _Time(*_WRITING)
        self._on = experiment.run.page.report
        train = experiment.run.train
        self._asked = any(str(name).startswith(verdict.PREFIX)
                          for name in (train.keep_best, train.stopping[0]))  # fmt: skip
        self._sees = True

    def begin(self, step: int) -> None:
        """Notes with what and on what a start of the run computes."""
        if self._on and self._chief:
            for name in (run_folder.REPORT, kept.ABOUT, kept.EXAMPLES, kept.VIEWS):
                remove_leftovers(os.path.join(self._folder, name))
            _note_start(self._experiment, step)

    def checkpoint(self, step: int) -> dict[str, float]:
        """Brings the page up to date as far as that takes a small share of the time.

        Writing it costs less than looking at the encoder anew, and is done more often. At the last
        step the encoder is looked at in any case, and `update` writes the page; at every checkpoint
        where a figure without labels decides what is kept, or when the run ends.

        Returns:
            The figures without labels, see `verdict.figures`, where they were measured.
        """
        passed = time.monotonic() - self._started
        last = self._on and step >= self._last_step
        looks = self._on and (self._asked or self._looking.allows(passed))
        if self._job.from_chief(int(last or looks)):
            found = self._look_and_time(step)
            if self._chief and found and self._asked:
                results.add_figures(self._folder, found, step, self._say)
            if self._chief and not last:
                self._write(step)
            return found
        if self._on and self._chief and self._writing.allows(passed):
            self._write(step)
        return {}

    def update(self, step: int) -> dict[str, float]:
        """Looks at the encoder, unless that was done at this step, and writes the page.

        Returns:
            As `checkpoint`.
        """
        if not self._on:
            return {}
        if self._last is None or self._last[0] != step:
            self._look_and_time(step)
        found = {} if self._last is None else self._last[1]
        if self._chief:
            if found:
                results.add_figures(self._folder, found, step, self._say)
            self._write(step)
        return found

    @property
    def _last_step(self) -> int:
        assert self._experiment.plan is not None
        return self._experiment.plan.steps

    def _look_and_time(self, step: int) -> dict[str, float]:
        with self._looking.measured():
            self._last = step, {}
            self._try_to_look(step)
            return self._last[1]

    def _write(self, step: int) -> None:
        with self._writing.measured():
            _note_step(self._experiment, step)
            write_page(self._folder, self._say)

    def _try_to_look(self, step: int) -> None:
        """Looks unless that failed before.

        Of several workers none goes on alone: the others would wait for it.
        """
        if self._job.workers > 1:
            self._look(step)
        elif self._sees:
            self._sees = _try("what the encoder makes of test images could not be kept for "
                              "report.html", lambda: self._look(step), self._say)  # fmt: skip

    @functools.cached_property
    def _examples(self) -> Batches:
        """A few images of the split, by a pipeline that is traced once for all looks."""
        experiment, asked = self._experiment, self._experiment.run.page.report_examples
        return functools.cache(
            example_batches(experiment.images_with_labels, _split(experiment), asked)
        )

    def _look(self, step: int) -> None:
        """What the encoder makes of a few images."""
        experiment = self._experiment
        if self._before is None:
            self._before = _extract(experiment, self._examples, self._first())
        found = _extract(experiment, self._examples, self._encoder)
        self._last = step, self._quality(step)
        if not self._chief:
            return
        labels = found.labels
        one_label = labels is not None and labels.ndim == 1
        if self._images is None:
            self._images = _thumbnails(self._examples, len(found.features))
        images = self._images
        points, _ = embedding_map(
            found.features, experiment.run.train.seed, iterations=_MAP_ITERATIONS
        )
        logits = found.logits
        examples = kept.Examples(
            images=images,
            labels=labels if labels is not None and one_label else kept.no_classes(len(images)),
            before=self._before.features,
            now=found.features,
            points=points,
            predicted=kept.no_classes(len(images)) if logits is None else logits.argmax(axis=1),
            step=step,
        )
        examples.write(self._folder)
        if min(found.features.shape) >= _FEWEST and not is_remote(self._folder):
            from simclr_tf.report import projector  # brings tensorboard

            named = experiment.class_names
            projector.write_projector(self._folder, found.features,
                                      labels if one_label else None, named, images,
                                      name="examples")  # fmt: skip

    def _quality(self, step: int) -> dict[str, float]:
        """The figures without labels; {} where there are none to measure."""
        run = self._experiment.run
        why = without_quality(self._experiment)
        if why is not None:
            asked = run.model.pretrains and run.page.quality_images
            if asked and self._quality_before is None and self._last_step == step:
                self._say(f"note: no figures without labels: {why}")
            return {}
        seen = 2 * self._last_step * run.train.train_batch_size
        most = max(_FEWEST_LOOKED_AT, seen // _VIEWS_PER_IMAGE)
        if self._shown is None or self._quality_before is None:
            self._shown = _shown(self._experiment, most)
            self._quality_before = _measured(self._experiment, self._first(), self._shown)["h"]
        now = _measured(self._experiment, self._encoder, self._shown)
        return verdict.figures({**now, "untrained": self._quality_before})


def judge(
    experiment: Experiment, encoder: Extractor, first: Extractor, step: int
) -> dict[str, float]:
    """The figures without labels of a step, which go to the result files and the page of the run.

    Args:
        experiment: The run; `without_quality` must not object.
        encoder: With the weights of the step.
        first: Untrained.
        step: Of the checkpoint.
    """
    shown = _shown(experiment)
    found, before = (_measured(experiment, one, shown) for one in (encoder, first))
    figures = verdict.figures({**found, "untrained": before["h"]})
    if experiment.job.is_chief:
        results.add_figures(experiment.run.model_dir, figures, step, experiment.job.say)
        if experiment.run.page.report:
            write_page(experiment.run.model_dir, experiment.job.say)
    return figures


def _shown(experiment: Experiment, most: int | None = None) -> Shown:
    """The images that are looked at, at most so many."""
    images, split = experiment.images_with_labels, _split(experiment)
    asked = experiment.run.page.quality_images
    return Shown(images, split, min(asked, most or asked))


def _measured(experiment: Experiment, encoder: Extractor, shown: Shown) -> dict[str, Quality]:
    """The figures of an encoder."""
    split = _split(experiment)
    with experiment.images_with_labels.naming_bad_image(split, "eval_split"):
        return measure(encoder, shown)


def without_quality(experiment: Experiment, trains: bool = True) -> str | None:
    """Why a run has no figures without labels, None where it has; a training needs its page."""
    run, images, split = experiment.run, experiment.images_with_labels, _split(experiment)
    if not run.model.pretrains:
        return f"train_mode={run.model.train_mode}"
    if trains and not run.page.report:
        return "report=False"
    if run.page.quality_images == 0:
        return "quality_images=0"
    there, fewest = images.source.num_examples(split, "eval_split"), fewest_images(images)
    if min(there, run.page.quality_images) < fewest:
        return f"{split} has {there} images, and {fewest} are needed"
    return None


def keep_views(experiment: Experiment, samples: SampleViews, epoch: int) -> None:
    """Keeps views of training images for the page."""
    run = experiment.run
    if run.page.report:
        operations = [
            [
                [in_words(one, experiment.recipe.policy.brightness) for one in image]
                for image in view
            ]
            for view in samples.operations
        ]
        kept.ViewSamples(
            pictures.thumbnails(samples.originals, pictures.VIEW_SIDE),
            np.stack([pictures.thumbnails(view, pictures.VIEW_SIDE) for view in samples.views]),
            operations,
            epoch,
        ).write(run.model_dir)


def keep_evaluation(experiment: Experiment, folder: str, evaluation: Evaluation, step: int) -> None:
    """Keeps the classes that an evaluation found, and writes the page of the run."""
    if not experiment.run.page.report:
        return
    if evaluation.labels is not None and evaluation.predictions:
        kept.Predictions(evaluation.labels, evaluation.predictions, step).write(folder)
    write_page(experiment.run.model_dir, experiment.job.say)


def draw_curves(folder: str, say: Say) -> None:
    """Draws `curves.png` of a run; says so where that fails."""
    from simclr_tf.report import curves

    path = os.path.join(folder, run_folder.CURVES)
    _try("curves.png could not be drawn", lambda: curves.plot_learning_curves(folder, path), say)


def write_page(folder: str, say: Say) -> None:
    """Writes the page from what lies in the folder of a run; says so where that fails."""
    from simclr_tf.report import run_page  # brings matplotlib, which the first step does not need

    _try("report.html could not be written", lambda: run_page.write_report(folder), say)


def _try(failure: str, act: Callable[[], object], say: Say) -> bool:
    try:
        act()
    except Exception as error:  # what people look at must not cost the run
        say(f"note: {failure}: {type(error).__name__}: {one_line(error)}")
        return False
    return True


def _split(experiment: Experiment) -> str:
    return experiment.eval_split or experiment.run.data.train_split


def _extract(experiment: Experiment, examples: Batches, encoder: Extractor) -> Features:
    with experiment.images_with_labels.naming_bad_image(_split(experiment), "eval_split"):
        return encoder.features(examples)


def _thumbnails(batches: Batches, count: int) -> np.ndarray:
    """The images of `_extract`, uint8 of thumbnail size."""
    images = [
        pictures.thumbnails(batch["image"], pictures.EXAMPLE_SIDE)
        for batch in batches(Part()).as_numpy_iterator()
    ]
    return np.concatenate(images)[:count]


def _note_start(experiment: Experiment, step: int) -> None:
    about = _about(experiment)
    about["starts"] = [
        *(about.get("starts") or ()),
        {
            "time": _now(),
            "step": step,
            "versions": machine.versions(),
            "hardware": machine.hardware(),
            "devices": str(experiment.job),
            "precision": experiment.run.model.precision,
        },
    ][-_MOST_STARTS:]
    write_json(_about_path(experiment), about)


def _note_step(experiment: Experiment, step: int) -> None:
    assert experiment.plan is not None
    looked_at = kept.HELD_OUT if experiment.eval_split == holdout.NAME else kept.TESTS
    if experiment.eval_split is None or not experiment.bank_is_separate:
        looked_at = kept.TRAINED_ON
    now = {"step": step, "total_steps": experiment.plan.steps, "updated": _now(),
           "looked_at": looked_at}  # fmt: skip
    write_json(_about_path(experiment), {**_about(experiment), **now})


def _about(experiment: Experiment) -> dict[str, Any]:
    """What was noted so far; a damaged file is begun anew."""
    return find_or_set_aside(_about_path(experiment), experiment.job.say, {"starts": list})


def _about_path(experiment: Experiment) -> str:
    return os.path.join(experiment.run.model_dir, kept.ABOUT)


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
