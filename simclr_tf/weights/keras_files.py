"""Opens `.keras` files of others: weights are read, and nothing runs but layers that are known.

`tf_keras` takes an HDF5 file or a SavedModel under that name too, imports whatever module a
configuration names, and reads weights from other files where HDF5 links to them. So the archive is
read here, checked, and handed on as a file with nothing else in it.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import textwrap
import warnings
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import InputError, first_line, require, require_valid
from simclr_tf.files import is_remote
from simclr_tf.json_files import parse_json
from simclr_tf.models import saving
from simclr_tf.weights.archives import unpacked_limit

_METADATA, _CONFIG, _WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
# Most bytes of each; those of the weights follow from the size of the file.
_LARGEST = {_METADATA: 2**16, _CONFIG: 2**25, _WEIGHTS: None}
_BLOCK = 2**20
_MAX_READ = 2**22  # bytes at a time: the list of an archive's members is one read
_MAX_OBJECTS = 100_000  # in the HDF5 file
_FILTERS = {1, 2, 3}  # deflate, shuffle, checksum; others are libraries that HDF5 looks for
_OF_PYTHON = (AssertionError, AttributeError, LookupError, TypeError)
_SHOWN = 200  # characters of a fault, which may print whole models


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What a model may consist of. All are functions of their inputs and weights alone: no layer that
# holds code of its own (Lambda), reads a vocabulary from a file, or wraps an arbitrary operation.
LAYERS = _names("""
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average
    AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization CenterCrop Concatenate
    Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose Cropping1D Cropping2D
    Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Dot Dropout ELU EinsumDense Embedding Flatten
    GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
    GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    GroupNormalization Identity InputLayer LayerNormalization LeakyReLU Masking MaxPooling1D
    MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention Multiply Normalization PReLU
    Permute RandomBrightness RandomContrast RandomCrop RandomFlip RandomHeight RandomRotation
    RandomTranslation RandomWidth RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
    SeparableConv1D SeparableConv2D Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D
    Subtract ThresholdedReLU TimeDistributed UnitNormalization UpSampling1D UpSampling2D
    UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
""")  # fmt: skip
INITIALIZERS = _names("""
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones
    Orthogonal RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
""")  # fmt: skip
REGULARIZERS = frozenset(["L1", "L1L2", "L2", "OrthogonalRegularizer"])
CONSTRAINTS = frozenset(["MaxNorm", "MinMaxNorm", "NonNeg", "RadialConstraint", "UnitNorm"])
ACTIVATIONS = _names("""
    elu exponential gelu hard_sigmoid leaky_relu linear log_softmax mish relu relu6 selu sigmoid
    silu softmax softplus softsign swish tanh
""")  # fmt: skip
# Operations on tensors that Keras wraps as layers (`x / 255.0`), by their names in TensorFlow.
OPERATIONS = _names("""
    __operators__.add __operators__.getitem cast clip_by_value compat.v1.shape concat expand_dims
    identity image.resize math.abs math.add math.divide math.exp math.l2_normalize math.log
    math.maximum math.minimum math.multiply math.negative math.pow math.reduce_max math.reduce_mean
    math.reduce_min math.reduce_sum math.rsqrt math.sigmoid math.sqrt math.square math.subtract
    math.tanh math.truediv nn.elu nn.gelu nn.leaky_relu nn.relu nn.relu6 nn.selu nn.silu nn.softmax
    pad reshape shape split squeeze stack stop_gradient transpose
""")  # fmt: skip
_WRAPPED = frozenset(["TFOpLambda", "SlicingOpLambda"])
# By module, without the `tf_` of `tf_keras`, which older files lack.
_ALLOWED = {
    "keras.layers": LAYERS,
    "keras.initializers": INITIALIZERS,
    "keras.regularizers": REGULARIZERS,
    "keras.constraints": CONSTRAINTS,
    "keras.mixed_precision": frozenset(["Policy"]),
    "keras": frozenset(["Functional", "Model", "Sequential"]),
    "keras.models": frozenset(["Functional", "Model", "Sequential"]),
    "keras.src.engine.functional": frozenset(["Functional"]),
    "keras.src.layers.core.tf_op_layer": _WRAPPED,
    "tensorflow.python.ops.init_ops_v2": INITIALIZERS,  # EfficientNetV2's
}
# Settings that name one of these by a text, by the end of the setting's name.
_NAMED = {
    "activation": ACTIVATIONS,
    "initializer": INITIALIZERS,
    "regularizer": REGULARIZERS,
    "constraint": CONSTRAINTS,
}


class _ForeignError(ValueError):
    """The file names something that is not known to be harmless."""


def open_keras_file(path: str, allow_foreign: bool = False) -> keras.Model:
    """The model in a `.keras` file of tf_keras, uncompiled.

    Args:
        path: Local, or on a file system that TensorFlow reads. It has to be the zip archive of a
            model, without assets.
        allow_foreign: Whether layers and operations may be others than those listed above; then
            the file decides which code runs. Bytecode (`Lambda`) is refused even so.
            Classes that are registered (`keras.saving.register_keras_serializable`) or in a
            `custom_object_scope` are the user's own, and
            known, and so are those of this library.

    Returns:
        The model, in the scope of the strategy that is open.

    Raises:
        InputError: There is no such file; it is another kind of file or damaged, or too large for
            its size; it names other layers; its weights lie in other files.
    """
    _check_is_file(path)
    with tempfile.TemporaryDirectory() as folder:
        checked = os.path.join(folder, "checked.keras")
        try:
            limit = _copy_checked(path, checked, allow_foreign)
            with tf.variable_creator_scope(_bounding(limit)):
                return keras.models.load_model(checked, compile=False, safe_mode=True)
        except _ForeignError as error:
            raise InputError(
                "checkpoint", f"must be a .keras file of known layers ({error}); what others a "
                "file names is code of its author's and runs only with --allow_foreign_graph", path,
            ) from None  # fmt: skip
        except Exception as error:  # a foreign file may hold anything
            raise InputError("checkpoint", "must be a .keras file that tf_keras opens, a zip "
                             f"archive (saved by Keras 3?) ({fault(error)})",
                             path) from None  # fmt: skip


def fault(error: Exception) -> str:
    """What a foreign object raised, in a few words that are not about Python's own objects."""
    text = first_line(error)
    if isinstance(error, _OF_PYTHON) and not text.startswith("Error when"):  # Keras's own words
        return f"what it describes does not fit together, {type(error).__name__}"
    return textwrap.shorten(text, _SHOWN)


def warn_about_code(path: str) -> None:
    """Says that a file of others brings code of its own, which runs."""
    warnings.warn(f"{path}: the code of its author runs with your rights (--allow_foreign_graph)",
                  stacklevel=2)  # fmt: skip


def _check_is_file(path: str) -> None:
    try:
        found = tf.io.gfile.exists(path)
    except tf.errors.OpError as error:
        raise InputError("checkpoint", f"must be on a path that can be read ({first_line(error)})",
                         path) from None  # fmt: skip
    require(found, "checkpoint", "must exist", path)
    regular = not tf.io.gfile.isdir(path) and (is_remote(path) or os.path.isfile(path))
    require(regular, "checkpoint", "must be a file, as its name ends in .keras", path)


# The archive.


class _Bounded(io.RawIOBase):
    """A file that refuses to be read in one large piece."""

    def __init__(self, file: Any, size: int):
        self._file, self._size, self._place = file, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(start + offset, 0)
        return self._place

    def read(self, count: int | None = -1, /) -> bytes:
        left = max(self._size - self._place, 0)
        count = left if count is None or count < 0 else min(count, left)
        require_valid(count <= _MAX_READ, "its list of members is too long")
        self._file.seek(self._place)
        content: bytes = self._file.read(count)
        self._place += len(content)
        return content


def _copy_checked(source: str, target: str, allow_foreign: bool) -> int:
    """Writes an archive with what was checked of another one; returns what its weights may take."""
    weights = f"{target}.h5"
    size = tf.io.gfile.stat(source).length
    with (
        tf.io.gfile.GFile(source, "rb") as file,
        zipfile.ZipFile(_Bounded(file, size)) as archive,
    ):
        names = sorted(info.filename for info in archive.infolist())
        require_valid(names == sorted(_LARGEST), f"it holds {_listed(names)} instead of "
                      f"{', '.join(_LARGEST)}")  # fmt: skip
        metadata = b"".join(_blocks(archive, _METADATA, size))
        text = b"".join(_blocks(archive, _CONFIG, size))
        config = uncompiled(parse_json(text, _CONFIG))
        try:
            check_config(config)
        except _ForeignError:
            if not allow_foreign:
                raise
            warn_about_code(source)
        with open(weights, "xb") as stored:
            for block in _blocks(archive, _WEIGHTS, size):
                stored.write(block)
    check_weights(weights, unpacked_limit(size))
    with zipfile.ZipFile(target, "x") as archive:
        archive.writestr(_METADATA, metadata)
        archive.writestr(_CONFIG, json.dumps(config))
        archive.write(weights, _WEIGHTS)
    os.remove(weights)
    return unpacked_limit(size)


def _blocks(archive: zipfile.ZipFile, name: str, size: int) -> Iterator[bytes]:
    largest = _LARGEST[name]
    left = unpacked_limit(size) if largest is None else largest
    with archive.open(name) as member:
        while block := member.read(_BLOCK):
            left -= len(block)
            require_valid(left >= 0, f"its {name} is too large")
            yield block


def _bounding(limit: int) -> Callable[..., tf.Variable]:
    """A creator of variables that refuses those which the weights of the file can't fill."""
    left = limit

    def create(next_creator: Callable[..., tf.Variable], **settings: Any) -> tf.Variable:
        nonlocal left
        shape = tf.TensorShape(settings.get("shape"))
        if shape.is_fully_defined():
            left -= (shape.num_elements() or 0) * tf.as_dtype(settings["dtype"] or "float32").size
        require_valid(left >= 0, "its layers are larger than its weights")
        return next_creator(**settings)

    return create


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name[:_SHOWN]) for name in names[:4])
    return shown + (", ..." if len(names) > 4 else "") if names else "nothing"


# The configuration.


def uncompiled(value: Any) -> Any:
    """The configuration without optimizers, losses and metrics, which evaluation does not need."""
    if isinstance(value, list):
        return [uncompiled(item) for item in value]
    if isinstance(value, dict):
        return {
            key: uncompiled(item)
            for key, item in value.items()
            if not (key == "compile_config" and "class_name" in value)
        }
    return value


def check_config(value: Any, key: str = "") -> None:
    """Refuses the configuration of a model with anything in it that is not on the lists above.

    Args:
        value: What `config.json` holds, or a part of it.
        key: The setting whose value it is.

    Raises:
        ValueError: Says what is not known.
    """
    if isinstance(value, list):
        for item in value:
            check_config(item, key)
    elif isinstance(value, dict):
        if "class_name" in value:
            _check_object(value)
        for name, item in value.items():
            check_config(item, name)
    elif isinstance(value, str):
        for ending, names in _NAMED.items():
            if key.endswith(ending) and _plain(value) not in map(_plain, names):
                raise _ForeignError(f"it names the {ending} {_shown(value)}")


def _check_object(value: dict[str, Any]) -> None:
    module, name = value.get("module"), value["class_name"]
    registered = value.get("registered_name")
    if isinstance(registered, str) and registered.startswith(saving.PREFIX):
        if registered == f"{saving.PREFIX}{name}" and saving.MODULES.get(name) == module:
            saving.custom_objects()  # registered from now on
            return
    elif _is_users(registered):
        return
    allowed = _ALLOWED.get(module.removeprefix("tf_"), ()) if isinstance(module, str) else ()
    if not isinstance(name, str) or name not in allowed:
        raise _ForeignError(f"it names {_shown(name)} of {_shown(module)}")
    if registered not in (None, name):
        raise _ForeignError(f"it names {_shown(registered)}")
    if name in _WRAPPED:
        settings = value.get("config")
        function = settings.get("function") if isinstance(settings, dict) else None
        if not isinstance(function, str) or function not in OPERATIONS:
            raise _ForeignError(f"it names the operation {_shown(function)}")


def _is_users(registered: Any) -> bool:
    """Whether it is a class that the user of this process has brought."""
    if not isinstance(registered, str):
        return False
    found = keras.saving.get_registered_object(registered)
    return isinstance(found, type) and issubclass(found, keras.layers.Layer)


def _plain(name: str) -> str:
    """`GlorotUniform` and `glorot_uniform` mean the same."""
    return name.replace("_", "").lower()


def _shown(value: Any) -> str:
    return repr(value)[:_SHOWN]


# The weights.


def check_weights(path: str, limit: int) -> None:
    """Refuses HDF5 files that point to other files, or declare more than they can hold.

    Args:
        path: A local file.
        limit: Bytes that its arrays may have.

    Raises:
        ValueError: Says what is wrong.
        OSError: It can't be read.
    """
    seen = set()
    with h5py.File(path, "r") as file:
        waiting = [file["/"]]
        while waiting:
            group = waiting.pop()
            for key in group:
                name = _shown(f"{group.name}/{key}")
                link = group.get(key, getlink=True)
                require_valid(isinstance(link, h5py.HardLink), f"its weights hold the link {name}")
                item = group[key]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:
                    continue
                seen.add(address)
                require_valid(len(seen) <= _MAX_OBJECTS, "its weights have too many parts")
                if isinstance(item, h5py.Group):
                    waiting.append(item)
                    continue
                require_valid(isinstance(item, h5py.Dataset), f"its weights hold {name}")
                limit -= _declared_bytes(item, name)
                require_valid(limit >= 0, "its weights are larger than the file")


def _declared_bytes(dataset: Any, name: str) -> int:
    elsewhere = dataset.is_virtual or dataset.external
    require_valid(not elsewhere, f"its weights {name} lie in another file")
    require_valid(dataset.dtype.kind in "biuf", f"its weights {name} are no numbers")
    created = dataset.id.get_create_plist()
    filters = {created.get_filter(index)[0] for index in range(created.get_nfilters())}
    require_valid(filters <= _FILTERS, f"its weights {name} need a filter of their own")
    return int(dataset.size) * int(dataset.dtype.itemsize)
