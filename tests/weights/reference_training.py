"""Checkpoints of made-up trainings of the reference implementation: weights, slots, step.

The listing of one that it wrote itself, a ResNet-18 trained with LARS on TensorFlow 2.21, has
Keras's other optimizers put in the place of LARS, and an eighth of the channels.
"""

from __future__ import annotations

import pathlib

import numpy as np

from tests.weights import foreign_checkpoints

STEP = 20  # of `random_arrays`
WIDTH, CLASSES, PROJECTION = 1 / 8, 10, 16
_LISTING = (
    pathlib.Path(__file__).parents[1]
    / "fixtures"
    / "foreign"
    / "tf2_training_checkpoint_variables_r18.json"
)
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_LARS = "/.OPTIMIZER_SLOT/optimizer/Momentum"
_SLOTS = {"lars": ("Momentum",), "momentum": ("momentum",), "adam": ("m", "v")}


def listing(optimizer: str = "lars", late: bool = False) -> dict[str, dict]:
    """Shape and full name by key.

    Args:
        optimizer: `lars`, `momentum`, `adam`; "" for none.
        late: Keras's optimizers as of TensorFlow 2.11, with variables of their own.
    """
    entries: dict[str, dict] = {}
    for key, entry in foreign_checkpoints.read_listing(_LISTING).items():
        shape = [n if n <= 10 else n // 8 for n in entry["shape"]]
        if _LARS not in key:
            entries[key] = {"full_name": entry["full_name"], "shape": shape}
            continue
        name = entry["full_name"].removeprefix("LARSOptimizer/").removesuffix("/Momentum")
        for slot in _SLOTS.get(optimizer, ()):
            if late:
                place = f"optimizer/_variables/{len(entries)}{_VALUE}"
                full_name = f"{optimizer.title()}/{slot}/{name}"
            else:
                place = key.replace(_LARS, f"/.OPTIMIZER_SLOT/optimizer/{slot}")
                full_name = f"{optimizer.title()}/{name}/{slot}"
            entries[place] = {"full_name": full_name, "shape": shape}
    return entries


def arrays(entries: dict[str, dict], seed: int = 0) -> dict[str, np.ndarray]:
    """Values by full name; second moments are positive."""
    values = foreign_checkpoints.random_arrays(entries, seed)
    second = ("/v", "Adam/v/")
    return {
        name: np.abs(value) if name.endswith(second[0]) or name.startswith(second[1]) else value
        for name, value in values.items()
    }


def write(folder: pathlib.Path, entries: dict[str, dict] | None = None, step: int = STEP) -> str:
    """Writes `ckpt-<step>` with the state of LARS, or other entries; returns its prefix."""
    entries = listing() if entries is None else entries
    values = {**arrays(entries), "iter": np.int64(step)}
    return foreign_checkpoints.write_object_based(str(folder / f"ckpt-{step}"), entries, values)
