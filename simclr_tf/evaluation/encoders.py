"""Any encoder as a frozen function: weights of ours, foreign SavedModels, Keras models, callables.

What is read from a file decides what is possible: a SimCLR network can be fine-tuned too, whatever
else maps images to features is evaluated as it is. Weights are read; a graph of others is code, and
runs only where that was asked for.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf.encoder import Encoder
from simclr_tf.errors import InputError, require
from simclr_tf.evaluation.features import FINAL_ENDPOINT, EncoderOutput, Extractor
from simclr_tf.job import Job
from simclr_tf.models.endpoints import endpoints_of
from simclr_tf.models.keras_encoder import KerasEncoder, taken_shape
from simclr_tf.models.network import Network
from simclr_tf.models.resnet import ResNet
from simclr_tf.weights import archives, locate
from simclr_tf.weights.keras_files import fault, open_keras_file, warn_about_code
from simclr_tf.weights.load import load_model
from simclr_tf.weights.readings import SHORTCUTS

Endpoints = Mapping[str, tf.Tensor]
Encode = Callable[[tf.Tensor], Endpoints]

SIGNATURES = ("serving_default", "default")
_SIGNIFICANT = ("saved_model.pb", "variables", "assets")  # of a SavedModel's folder
_BLOCK = 2**22  # bytes


@dataclasses.dataclass(frozen=True)
class FrozenEncoder:
    """An encoder that nothing changes.

    Attributes:
        name: For messages and tables.
        encode: From images (B, S, S, 3), float32 in [0, 1], to endpoints by name, in inference
            mode; `final_avg_pool` (B, D) is always among them. Can be traced.
        image_size: Side S of the images in pixels.
        fingerprint: Identifies the function by its weights or files as they were when it was
            opened; empty where nobody can tell, so that its features must not be cached.
        model: The SimCLR network inside, where there is one; for fine-tuning.
        path: Where it was read.
        global_step: Step of the weights, 0 where unknown.
        run_dir: Folder of the run of ours that it is from.
        channels: Of the images.
        variables: Everything it holds, batch norm statistics included, as far as it shows them.
    """

    name: str
    encode: Encode
    image_size: int
    fingerprint: str = ""
    model: Network | None = None
    path: str | None = None
    global_step: int = 0
    run_dir: str | None = None
    channels: int = 3
    variables: tuple[tf.Variable, ...] = dataclasses.field(default=(), repr=False, compare=False)
    _extractors: dict[Any, Extractor] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )

    def extractor(
        self, job: Job, endpoint: str = FINAL_ENDPOINT, optional: tuple[str, ...] = ()
    ) -> Extractor:
        """The encoder on the devices of a job; the same one, with its traces, for each asker."""
        key = (id(job.strategy), endpoint, optional)
        if key not in self._extractors:
            self._extractors[key] = Extractor(self.encode, job, (endpoint,), optional)
        return self._extractors[key]


def as_encoder(encoder: Any, allow_foreign_graph: bool = False) -> FrozenEncoder:
    """An encoder as it is, or what a path or a run names.

    Args:
        encoder: A `FrozenEncoder`, or what `open_encoder` opens.
        allow_foreign_graph: See `open_encoder`.

    Raises:
        InputError: Something else, or see `open_encoder`.
    """
    if isinstance(encoder, FrozenEncoder):
        return encoder
    known = isinstance(encoder, str | os.PathLike)
    require(known, "encoder", "must be a run, a path, or a FrozenEncoder (of a model in memory: "
            "simclr_tf.from_model)", type(encoder).__name__)  # fmt: skip
    return open_encoder(encoder, allow_foreign_graph=allow_foreign_graph)


def open_encoder(
    path: str | os.PathLike[str],
    image_size: int | None = None,
    allow_foreign_graph: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
) -> FrozenEncoder:
    """An encoder from a file of any kind.

    Example:
        >>> encoder = simclr_tf.open_encoder("runs/a")  # doctest: +SKIP
        >>> simclr_tf.evaluate(encoder, "cifar10", "knn")  # doctest: +SKIP

    Args:
        path: Whatever `simclr_tf.weights.load.load_model` reads: a run, a checkpoint, an export, a
            published model, also by its name, an archive. Or a `.keras` file of tf_keras with the
            layers and operations that `keras_files` lists, such as an export of ours. Or, with
            `allow_foreign_graph`, another SavedModel, also in an archive: an object that is called
            with images (and `training=False` or `trainable=False` where it takes them), or has the
            signature `serving_default` or `default` with one input. Foreign encoders get images in
            [0, 1] like ours: wrap those that expect another range, and use `from_model`. They must
            return what `simclr_tf.models.endpoints.endpoints_of` takes: features, a map, or a
            mapping with one of these.
        image_size: Side of the images in pixels; None takes the recorded, usual or fixed one.
        allow_foreign_graph: Whether the graph of a SavedModel that is no SimCLR network, or other
            layers in a `.keras` file, may run. Its author decides what it does, with the rights of
            this process; a warning says so. SimCLR networks of any origin never need it: of their
            files only the variables are read.
        cache_dir: Folder for what is fetched, as in `load_model`.

    Returns:
        The encoder.

    Raises:
        InputError: There is no such encoder, it runs only with `allow_foreign_graph`, can't be
            called with images of that size, or gives no features; a foreign encoder takes any size
            and `image_size` is None.
    """
    with archives.caching_in(cache_dir):
        return _open(os.path.expanduser(os.fspath(path)), image_size, allow_foreign_graph)


def _open(path: str, image_size: int | None, allow_foreign_graph: bool) -> FrozenEncoder:
    if path.endswith(".keras"):
        return _open_keras_file(locate.fetched(path), image_size, allow_foreign_graph)
    try:
        loaded = load_model(path, image_size=image_size)
    except InputError as error:
        if error.name != "checkpoint":
            raise
        return _open_saved_model(path, image_size, error, allow_foreign_graph)
    for text in loaded.report.assumptions:
        warnings.warn(f"{path}: {text}", stacklevel=2)
    for doubt in loaded.report.doubts:
        if doubt.name == SHORTCUTS:  # of the linear head no feature depends
            hint = "0 is assumed; `python -m export import --sk_ratio=...` makes weights that tell"
            warnings.warn(f"{path}: {doubt.name} {doubt.constraint} ({hint})", stacklevel=3)
    encoder = from_model(loaded.model, loaded.image_size, path.rstrip("/"))
    return dataclasses.replace(
        encoder, path=path, global_step=loaded.global_step, run_dir=loaded.run_dir
    )


def from_model(
    model: keras.Model | Callable[[tf.Tensor], EncoderOutput],
    image_size: int,
    name: str = "encoder",
    channels: int | None = None,
) -> FrozenEncoder:
    """An encoder that is in memory already.

    Example:
        >>> simclr_tf.from_model(lambda images: images[:, 0, 0], image_size=32).channels
        3

    Args:
        model: A Keras model, which is called with `training=False`, or a callable that stands for
            inference. It maps images (B, S, S, 3), float32 in [0, 1], to what `open_encoder`
            accepts.
        image_size: Side S of the images in pixels.
        name: For messages and tables.
        channels: Of the images; None takes those that the model says, or else 3.

    Returns:
        The encoder. It has a fingerprint where weights and configuration decide the function: for
        SimCLR networks and models of Keras' functional interface, not for callables and classes of
        one's own.

    Raises:
        InputError: It can't be called with such images, or gives no features.
    """
    require(image_size >= 1, "image_size", "must be at least 1", image_size)
    call = functools.partial(model, training=False) if isinstance(model, keras.Model) else model
    network = model.network if isinstance(model, Encoder) else model
    encoder = network.encoder if isinstance(network, Network) else network
    channels = channels or _channels(encoder)
    encode = _checked_encode([("call", call)], image_size, "encoder", name, channels)
    variables = tuple(getattr(model, "variables", ()))
    return FrozenEncoder(
        name=name,
        encode=encode,
        image_size=image_size,
        fingerprint=_model_fingerprint(model, variables),
        model=network if isinstance(network, Network) else None,
        channels=channels,
        variables=variables,
    )


def _channels(encoder: Any) -> int:
    """Channels of the images that a model takes, 3 where it does not say."""
    if isinstance(encoder, ResNet | KerasEncoder):
        return encoder.example_shape[-1]
    return taken_shape(encoder)[-1] or 3


def frozen_state(encoder: FrozenEncoder) -> dict[str, bytes]:
    """A hash of every variable, to prove that an evaluation changed nothing.

    Returns:
        SHA-256 by name; variables of one name are numbered. Empty for a callable that shows none.
    """
    return {name: _digest(variable) for name, variable in _named(encoder.variables)}


# Files.


def _open_keras_file(path: str, image_size: int | None, allow_foreign: bool) -> FrozenEncoder:
    model = open_keras_file(path, allow_foreign)
    size = _resolve_size(image_size, _keras_shapes(model), path)
    ways = [(_call_text("training=False"), functools.partial(model, training=False))]
    digest = hashlib.sha256()
    _hash_file(digest, path)
    return FrozenEncoder(
        name=path,
        encode=_checked_encode(ways, size, "checkpoint", path, _channels(model)),
        image_size=size,
        fingerprint=digest.hexdigest(),
        path=path,
        channels=_channels(model),
        variables=tuple(model.variables),
    )


def _open_saved_model(
    path: str, image_size: int | None, no_network: InputError, allow_foreign: bool
) -> FrozenEncoder:
    """A SavedModel as a callable; `no_network` says why it is not a SimCLR network."""
    with locate.unpacked(path) as unpacked:
        folder = locate.locate(unpacked).saved_model
        if folder is None:
            raise no_network
        if not allow_foreign:
            raise InputError(
                "checkpoint", f"must be a SimCLR network ({no_network.constraint}); the graph of "
                "another SavedModel is code of its author's and runs only with "
                "--allow_foreign_graph", path,
            )  # fmt: skip
        warn_about_code(path)
        try:
            module = _load_unscoped(folder)
        except Exception as error:  # a foreign graph may need ops that are not here
            raise InputError(
                "checkpoint", f"must be a SimCLR network ({no_network.constraint}) or a SavedModel "
                f"that TensorFlow loads ({fault(error)})", path,
            ) from None  # fmt: skip
        digest = hashlib.sha256()
        for relative in _significant_files(folder):
            digest.update(relative.encode())
            _hash_file(digest, os.path.join(folder, relative))
    size = _resolve_size(image_size, _module_shapes(module), path)
    return FrozenEncoder(
        name=path.rstrip("/"),
        encode=_checked_encode(_ways_to_call(module), size, "checkpoint", path),
        image_size=size,
        fingerprint=digest.hexdigest(),
        path=path,
        variables=_module_variables(module),
    )


def _load_unscoped(folder: str) -> Any:
    """Loads a SavedModel with plain variables, whatever strategy's scope is open.

    Loaded as a strategy's variables they could be read inside its replicas only. Scopes belong to
    threads.
    """
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(tf.saved_model.load, folder).result()


def _significant_files(folder: str) -> Iterator[str]:
    """Paths below a SavedModel's folder that decide what it computes, in sorted order."""
    for parent, _, names in sorted(tf.io.gfile.walk(folder)):
        for name in sorted(names):
            relative = os.path.relpath(os.path.join(parent, name), folder)
            if relative.split(os.sep)[0] in _SIGNIFICANT:
                yield relative


def _hash_file(digest: Any, path: str) -> None:
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)


# How a foreign object is called.


def _ways_to_call(module: Any) -> list[tuple[str, Callable[[tf.Tensor], Any]]]:
    """What may give features, with its description, in order of preference."""
    ways: list[tuple[str, Callable[[tf.Tensor], Any]]] = []
    if callable(module):
        for keywords in ({"training": False}, {"trainable": False}, {}):
            text = _call_text(*(f"{key}={value}" for key, value in keywords.items()))
            ways.append((text, functools.partial(module, **keywords)))
    for key in SIGNATURES:
        if key in getattr(module, "signatures", {}):
            signature = module.signatures[key]
            ways.append((f"signature {key}", functools.partial(_call_signature, signature)))
    return ways


def _call_text(*keywords: str) -> str:
    return f"module({', '.join(('images', *keywords))})"


def _call_signature(signature: Any, images: tf.Tensor) -> Any:
    _, inputs = signature.structured_input_signature
    if len(inputs) != 1:
        raise ValueError(f"takes {len(inputs)} inputs: {sorted(inputs)}")
    ((name, spec),) = inputs.items()
    if spec.dtype != images.dtype:
        raise ValueError(f"takes {spec.dtype.name}, not float32")
    if not spec.shape.is_compatible_with(images.shape):  # TensorFlow does not check it
        raise ValueError(f"takes {tuple(spec.shape)}, not {tuple(images.shape)}")
    return signature(**{name: images})


def _checked_encode(
    ways: Iterable[tuple[str, Callable[[tf.Tensor], Any]]],
    size: int,
    setting: str,
    received: str,
    channels: int = 3,
) -> Encode:
    """The first way that turns images into features, as a function to endpoints."""
    images = tf.zeros([2, size, size, channels])
    faults = []
    for text, call in ways:
        try:
            _encode(call, images)
        except Exception as error:  # whatever a foreign object raises
            faults.append(f"{text}: {fault(error)}")
        else:
            return functools.partial(_encode, call)
    raise InputError(setting, f"must map images (B, {size}, {size}, {channels}) to features (B, D) "
                     f"({'; '.join(faults) or 'it has no call and no signature'})",
                     received)  # fmt: skip


def _encode(call: Callable[[tf.Tensor], Any], images: tf.Tensor) -> Endpoints:
    return endpoints_of(call(images))


# Sizes of images.


def _resolve_size(image_size: int | None, shapes: Iterable[Any], path: str) -> int:
    """The size asked for, or the only one that the encoder takes."""
    if image_size is not None:
        require(image_size >= 1, "image_size", "must be at least 1", image_size)
        return image_size
    for shape in shapes:
        if len(shape) == 4 and shape[1] is not None and shape[1] == shape[2]:
            return int(shape[1])
    raise InputError("image_size", f"must be given: {path} does not say which images it takes",
                     image_size)  # fmt: skip


def _keras_shapes(model: keras.Model) -> list[tuple[int | None, ...]]:
    return [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or []]


def _module_shapes(module: Any) -> Iterator[tuple[int | None, ...]]:
    """Known shapes of what a SavedModel's functions take."""
    for function in _functions(module):
        positional, named = function.structured_input_signature
        for spec in tf.nest.flatten((positional, named)):
            if isinstance(spec, tf.TensorSpec) and spec.shape.rank is not None:
                yield tuple(spec.shape)


def _functions(module: Any) -> list[Any]:
    """The traces of a SavedModel that a user can call."""
    call = getattr(module, "__call__", None)  # noqa: B004
    signatures = getattr(module, "signatures", {})
    wanted = [signatures[key] for key in SIGNATURES if key in signatures]
    return [*getattr(call, "concrete_functions", []), *wanted]


# Variables.


def _module_variables(module: Any) -> tuple[tf.Variable, ...]:
    """Those that a SavedModel lists, and those that its functions read."""
    found = list(getattr(module, "variables", ()))
    for function in _functions(module):
        found.extend(function.variables)
    return tuple({id(variable): variable for variable in found}.values())


def _named(variables: Iterable[tf.Variable]) -> list[tuple[str, tf.Variable]]:
    """Variables with unique names, sorted."""
    counts: dict[str, int] = {}
    named = []
    for variable in variables:
        counts[variable.name] = count = counts.get(variable.name, 0) + 1
        named.append((variable.name if count == 1 else f"{variable.name}#{count}", variable))
    return sorted(named, key=lambda pair: pair[0])


def _digest(variable: tf.Variable) -> bytes:
    value = variable.numpy()
    digest = hashlib.sha256(f"{value.dtype} {value.shape} ".encode())
    digest.update(value.tobytes())
    return digest.digest()


def _model_fingerprint(model: Any, variables: Iterable[tf.Variable]) -> str:
    digest = hashlib.sha256()
    if isinstance(model, Encoder):
        digest.update(f"{model.endpoint}".encode())
    elif not isinstance(model, Network):
        if not _is_stock(model):
            return ""
        digest.update(model.to_json().encode())
    for name, variable in _named(variables):
        digest.update(name.encode())
        digest.update(_digest(variable))
    return digest.hexdigest()


def _is_stock(model: Any) -> bool:
    """Whether a model consists of Keras' own layers, so that its configuration says it all."""
    if not isinstance(model, keras.Model):
        return False
    layers = [part for part in model.submodules if isinstance(part, keras.layers.Layer)]
    return all(type(layer).__module__.startswith("tf_keras.") for layer in (model, *layers))
