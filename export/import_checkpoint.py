"""Turns a foreign checkpoint into one of ours, once, so that later runs read it at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from simclr_tf import console, run_folder
from simclr_tf.files import write_json, write_text_atomically
from simclr_tf.settings import by_name
from simclr_tf.settings.data import DataConfig
from simclr_tf.settings.run import RunConfig
from simclr_tf.weights.load import LoadedModel, load_model
from simclr_tf.weights.network import WHOLE_HEAD

from .folders import appearing, check_apart, check_target


def convert(
    source: str,
    output: str,
    overwrite: bool = False,
    ft_proj_selector: int | None = None,
    sk_ratio: float | None = None,
    resnet_variant: str | None = None,
    input_norm: str | None = None,
    say: Callable[[str], None] = console.say,
) -> str:
    """Writes `output/ckpt-<step>`, `checkpoint` and `config.json` from weights of any format.

    Args:
        source: See `simclr_tf.weights.load.load_model`.
        output: A new folder; it appears when it is complete.
        overwrite: Whether an existing folder of this kind is replaced.
        ft_proj_selector: See `load_model`.
        sk_ratio: See `load_model`.
        resnet_variant: See `load_model`.
        input_norm: See `load_model`.
        say: Receives what was found.

    Returns:
        The prefix of the checkpoint.

    Raises:
        InputError: The source can't be read or may be read in several ways, or the target exists.
    """
    output = output.rstrip("/")
    check_target(output, overwrite)
    check_apart(source, output)
    loaded = load_model(source, ft_proj_selector, None, sk_ratio, resnet_variant, input_norm)
    if loaded.report.doubts:  # what is converted once must be whole and right
        raise loaded.report.doubts[0]
    for line in loaded.report.lines():
        say(line)
    name = f"ckpt-{loaded.global_step}"
    with appearing(output, overwrite) as partial:
        step = tf.Variable(loaded.global_step, dtype=tf.int64, name="global_step")
        checkpoint = tf.train.Checkpoint(model=loaded.model, global_step=step)
        checkpoint.write(os.path.join(partial, name))
        # `tf.train.load_checkpoint(folder)` asks for this file.
        state = f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n'
        write_text_atomically(os.path.join(partial, "checkpoint"), state)
        write_json(os.path.join(partial, run_folder.CONFIG), _record(loaded, output))
    return os.path.join(output, name)


def _record(loaded: LoadedModel, folder: str) -> dict[str, Any]:
    """What a run with this network would record; defaults where nothing is known."""
    data = DataConfig(image_size=loaded.image_size)
    run = RunConfig(model_dir=folder, data=data, model=loaded.model.config)
    names = loaded.class_names
    return {
        **by_name.flatten(run),
        "class_names": None if names is None else list(names),
        WHOLE_HEAD: loaded.model.whole_head,
        "imported_from": loaded.source,  # the settings of a training that is not known are defaults
    }
