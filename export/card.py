"""The model card: what an exported folder tells its finder, as Markdown."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from simclr_tf.models.endpoints import LOGITS_ENDPOINT, PROJECTED_ENDPOINT
from simclr_tf.report import table
from simclr_tf.settings.model import NO_NORM, OWN, RESNET, VARIANTS

from .history import History, data_name

_ENDPOINT_MEANINGS = {
    "initial_conv": "the first convolution, before batch norm and ReLU",
    "initial_max_pool": "input of the first block group",
    "final_avg_pool": "**the embedding**: what transfers to other tasks",
    "proj_head_input": "input of the projection head",
    PROJECTED_ENDPOINT: "output of the projection head, what the contrastive loss compares",
    LOGITS_ENDPOINT: "linear head: one logit per class",
}
_LARGEST_UNCROPPED = 32
_MOST_CLASSES_SHOWN = 20

_KINDS = {
    "pretrain": " pretrained without labels",
    "finetune": ", fine-tuned with labels",
    "supervised": " trained with labels",
    "distill": ", distilled from another network's classifications",
}
_TRAININGS = {
    "pretrain": "Contrastive pretraining",
    "finetune": "Fine-tuning with labels",
    "supervised": "Supervised training on labels alone, with the views of pretraining",
    "distill": "Distillation from a teacher (SimCLRv2, arXiv 2006.10029)",
}

# Title -> name of the setting, in the order of the card; settings at None are left out.
_TRAINING_ROWS = {
    "Training images": "train_split",
    "Image size": "image_size",
    "Global batch": "train_batch_size",
    "Optimizer": "optimizer",
    "Learning rate": "learning_rate",
    "Learning rate scaling": "learning_rate_scaling",
    "Warm-up epochs": "warmup_epochs",
    "Weight decay": "weight_decay",
}
_AUGMENTATION_ROWS = {
    "Smallest crop, share of the area": "crop_area_min",
    "Colour distortion, strength": "color_jitter_strength",
    "Blur": "use_blur",
}
_MODE_ROWS = {
    "pretrain": {"Temperature": "temperature", **_AUGMENTATION_ROWS},
    "finetune": {},
    "supervised": _AUGMENTATION_ROWS,
    "distill": {"Temperature": "distill_temperature", "Weight of the teacher": "distill_alpha"},
}


def model_card(record: Mapping[str, Any], history: History, loading: str | None = None) -> str:
    """The text of a card.

    Args:
        record: The content of `simclr_tf.json`, see `export.saved_model.describe`.
        history: What is known about the model.
        loading: How to load what lies beside the card, where it is no SavedModel.
    """
    parts = [
        _title(record, history),
        _training(record, history),
        _accuracy(record, history),
        *_use(record, history, loading),
        _LICENSE,
    ]
    return "\n\n".join(parts) + "\n"


def _use(record: Mapping[str, Any], history: History, loading: str | None) -> list[str]:
    """What goes in, what comes out, and how to load it."""
    inputs, outputs = _preprocessing(record, history), _endpoints(record)
    if loading is None:
        return [f"{inputs}\n\n{_files(record, history)}",
                f"{outputs}\n\n{_signatures(record)}{_classes(record)}",
                _loading(record)]  # fmt: skip
    return [inputs, outputs + _classes(record), loading]


def _title(record: Mapping[str, Any], history: History) -> str:
    network = network_name(record["model"])
    dataset = history.settings.get("dataset")
    trained_on = f", trained on {data_name(dataset)}" if dataset else ""
    kind = "image encoder"
    if history.settings:
        kind += _KINDS[record["model"]["train_mode"]]
    return (
        f"# SimCLR {network}{trained_on}\n\n"
        f"An {kind} (SimCLR, [Chen et al. 2020]"
        "(https://arxiv.org/abs/2002.05709)), for TensorFlow and Keras.\n"
        f"{record['parameters']:,} parameters, {record['endpoints']['final_avg_pool']}-dimensional "
        f"embeddings, float32, step {record['global_step']}."
    )


def network_name(model: Mapping[str, Any]) -> str:
    """An architecture in words: `ResNet-50, 2x wide, SK 0.0625, ImageNet stem`."""
    if model.get("encoder", RESNET) != RESNET:
        return str(model["encoder"]).rpartition("/")[2].removeprefix(OWN).removesuffix(".keras")
    parts = [f"ResNet-{model['resnet_depth']}"]
    if model["width_multiplier"] != 1:
        parts.append(f"{model['width_multiplier']:g}x wide")
    for ratio, name in (("sk_ratio", "SK"), ("se_ratio", "SE")):
        if model[ratio] > 0:
            parts.append(f"{name} {model[ratio]:g}")
    parts.append({"cifar": "CIFAR stem", "imagenet": "ImageNet stem"}[model["stem"]])
    if (variant := model.get("resnet_variant", VARIANTS[0])) != VARIANTS[0]:
        parts.append(f"as in {variant.replace('_', '-')}")
    return ", ".join(parts)


def _training(record: Mapping[str, Any], history: History) -> str:
    settings = history.settings
    if not settings:
        source = f" They were read from a {history.source}." if history.source else ""
        return f"## Training\n\nHow these weights were trained is not recorded here.{source}"
    mode = record["model"]["train_mode"]
    of_mode = _MODE_ROWS[mode]
    if settings.get("views"):  # the other settings of the views do not count
        own = {"Views": "views"} if of_mode.keys() & _AUGMENTATION_ROWS.keys() else {}
        of_mode = {k: v for k, v in of_mode.items() if k not in _AUGMENTATION_ROWS} | own
    titles = {**_TRAINING_ROWS, **of_mode}
    rows = [("Data", data_name(settings["dataset"]))] if settings.get("dataset") else []
    rows += [
        (title, _shown(settings[name]))
        for title, name in titles.items()
        if settings.get(name) is not None
    ]
    rows.append(("Steps", f"{record['global_step']}"))
    for title, name in (("Started from", "checkpoint"), ("Teacher", "teacher")):
        if settings.get(name):
            rows.append((title, f"`{os.path.basename(settings[name].rstrip('/'))}`"))
    recipe = f"; the recipe `{history.recipe}`, changed to these settings" if history.recipe else ""
    return f"## Training\n\n{_TRAININGS[mode]}{recipe}:\n\n{_table(('setting', 'value'), rows)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else f"{value}".replace("|", r"\|")


def _accuracy(record: Mapping[str, Any], history: History) -> str:
    trained = {k: v for k, v in history.metrics.items() if k.startswith("eval/")}
    untrained = {
        name.replace("untrained/", "eval/"): value
        for name, value in history.metrics.items()
        if name.startswith("untrained/")
    }
    if not trained:
        return "## Accuracy\n\nNo accuracy of this step is recorded here."
    rows = table.summary_rows(
        trained, num_classes=record["num_classes"], before=("untrained encoder", untrained)
    )
    on = f"Measured on {history.evaluated_on}{_part(history)}.\n\n" if history.evaluated_on else ""
    note = (
        "\n\nThe linear head was trained alongside, behind a stop-gradient."
        if history.settings
        and record["model"]["train_mode"] == "pretrain"
        and LOGITS_ENDPOINT in record["endpoints"]
        else ""
    )
    return f"## Accuracy\n\n{on}{_table(('classifier on these images', 'accuracy'), rows)}{note}"


def _part(history: History) -> str:
    """Says so where the run's evaluation did not take the whole split."""
    most = history.settings.get("eval_steps", 0) * history.settings.get("eval_batch_size", 0)
    return f", {most} images at most" if most else ""


def _preprocessing(record: Mapping[str, Any], history: History) -> str:
    channels = record["model"].get("channels", 3)
    kind = "RGB images" if channels == 3 else f"Images of {channels} channels"
    norm = record["model"].get("input_norm", NO_NORM)
    scaled = "" if norm == NO_NORM else (
        f" The network itself normalises them by mean and deviation (`{norm}`)."
    )  # fmt: skip
    return f"""\
## Input

{kind}, **float32 in [0, 1]**, shape (batch, height, width, {channels}), of any size. Values in
[0, 255] or [-1, 1] give meaningless embeddings, without an error.{scaled}
{_best_size(record, history)}"""


def _files(record: Mapping[str, Any], history: History) -> str:
    """How `from_bytes` sees files."""
    size = record["image_size"]
    if size > _LARGEST_UNCROPPED:
        crop = "takes the central square of 0.875 of the shorter side"
    else:
        crop = "takes the central square"
    averaged = (
        ", averaging where it is twice as large or larger," if history.reading.antialias else ""
    )
    return f"""\
The function `from_bytes` takes encoded files (JPEG, PNG, GIF, WebP of one picture, BMP) instead
and prepares them as in the evaluation: it decodes them, turns photographs as their EXIF orientation
says (not that of a WebP), {crop}, resizes it bicubically to
{size} x {size} pixels{averaged} and scales it to [0, 1]."""


def _best_size(record: Mapping[str, Any], history: History) -> str:
    """`from_bytes` may have been given another size than the network was trained at."""
    size = history.settings.get("image_size") or record["image_size"]
    return f"Images of about {size} x {size} pixels\nsuit the network best."


def _endpoints(record: Mapping[str, Any]) -> str:
    rows = []
    for name, channels in record["endpoints"].items():
        shape = f"(N, {channels})"
        meaning = _ENDPOINT_MEANINGS.get(name, f"output of block group {name[-1]}")
        if name.startswith(("initial_", "block_")):
            shape = f"(N, h, w, {channels})"
        rows.append((f"`{name}`", shape, meaning))
    return f"""\
## Output

A dictionary of endpoints:

{_table(("endpoint", "shape", "what it is"), rows)}"""


def _signatures(record: Mapping[str, Any]) -> str:
    outputs = "`embedding` (= `final_avg_pool`)"
    if LOGITS_ENDPOINT in record["endpoints"]:
        outputs += " and `logits` (= `logits_sup`)"
    return _SIGNATURES.replace("OUTPUTS", outputs)


def _classes(record: Mapping[str, Any]) -> str:
    names: Sequence[str] | None = record["class_names"]
    if LOGITS_ENDPOINT not in record["endpoints"]:
        return ""
    if not names:
        return f"\n\nThe linear head has {record['num_classes']} classes, whose names are unknown."
    shown = ", ".join(f"{k} {name}" for k, name in enumerate(names[:_MOST_CLASSES_SHOWN]))
    more = len(names) - _MOST_CLASSES_SHOWN
    rest = f", and {more} more in `assets.extra/simclr_tf.json`" if more > 0 else ""
    return f"\n\nClasses: {shown}{rest}."


def _loading(record: Mapping[str, Any]) -> str:
    return _LOADING.replace("SIZE", str(record["image_size"]))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


_SIGNATURES = """\
`module(images, trainable=False, training=False)` returns them all; so does the signature `default`,
as in SimCLR's TF1 modules. The signature `serving_default` (input `images`) and the functions
`module.from_bytes` (input `image_bytes`, a vector of strings) and `module.training_default` (batch
norm in training mode) return OUTPUTS.
In a folder for TensorFlow Serving (`serving/`) both functions are signatures."""

_LOADING = """\
## How to load it

`DIR` is the folder with `saved_model.pb`. TensorFlow is all that is needed:

```python
import tensorflow as tf

module = tf.saved_model.load("DIR")
embeddings = module(images)["final_avg_pool"]

files = tf.constant([tf.io.read_file("cat.jpg").numpy()])
embeddings = module.from_bytes(files)["embedding"]
```

As a layer of a Keras 2 model (`tf_keras`), frozen or, with `trainable=True`, fine-tuned. `hub.load`
and `hub.KerasLayer` take this folder or the http address of its `.tar.gz`; a local `.tar.gz` has to
be unpacked first (`mkdir DIR && tar -xzf encoder.tar.gz -C DIR`):

```python
import tensorflow_hub as hub
import tf_keras

encoder = hub.KerasLayer(
    "DIR", trainable=True, output_key="final_avg_pool", input_shape=(SIZE, SIZE, 3))
model = tf_keras.Sequential([encoder, tf_keras.layers.Dense(10)])
```

As a layer of a Keras 3 model on the TensorFlow backend. This one is fine-tuned; for a frozen one
pass `trainable=False` and no `call_training_endpoint`:

```python
import keras

inputs = keras.Input((SIZE, SIZE, 3))
encoder = keras.layers.TFSMLayer(
    "DIR", call_endpoint="serving_default", call_training_endpoint="training_default")
model = keras.Model(inputs, keras.layers.Dense(10)(encoder(inputs)["embedding"]))
optimizer = keras.optimizers.Adam(1e-4)
optimizer.build(model.trainable_variables)  # before `fit`, where Keras refuses names with a `:`
```

Where an `encoder.keras` lies beside this card, `tf_keras.models.load_model("encoder.keras")` and
Keras 3's `keras.models.load_model("encoder.keras")` give the same network as a functional model of
stock layers, from images to the dictionary of endpoints.

From the command line, and in simclr_tf itself:

```sh
saved_model_cli show --dir DIR --tag_set serve --signature_def serving_default
```

```python
encoder = simclr_tf.load_encoder("DIR")
embeddings = encoder(images, training=False)["final_avg_pool"]
```

`trainable=True` (or `training=True`) uses the statistics of the batch in batch norm and moves the
running ones; `False` changes nothing. There is no regularisation term inside."""

_LICENSE = """\
## License

simclr_tf, which wrote this folder, is under the Apache License 2.0. The weights carry no license of
their own from it: their use is for whoever trained them to grant, within the terms of the data."""
