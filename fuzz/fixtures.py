"""What cases start from, made once: photographs, a tiny run, exports, embeddings, a study."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable, Sequence

import numpy as np

DATASET = "--dataset=folder:photos"
TINY = (
    "--resnet_depth=18", "--width_multiplier=0.0625", "--image_size=8", "--train_batch_size=8",
    "--train_steps=2", "--warmup_epochs=0", "--eval_batch_size=8", "--use_blur=False",
    "--proj_out_dim=8", "--num_proj_layers=1",
)  # fmt: skip
KNN = ("--protocols=knn", "--knn_neighbors=1,3")
STUDY = ("--mode=study", "--study=temperature", "--study_budget=2", DATASET, *TINY)
DIGITS = ("--dataset=digits", "--data_dir=tfds", "--eval_split=test[:16]")
# Fixture -> what a program makes it from; in this order.
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "run": ("run.py", ("--mode=train_then_eval", DATASET, *TINY, "--model_dir=run")),
    "enc": ("export", ("--checkpoint=run", "--output=enc", "--format=saved_model,hub,keras")),
    "new.parquet": ("run.py", ("--mode=embed", DATASET, "--checkpoint=run",
                               "--output=new.parquet")),
    "new.npz": ("run.py", ("--mode=embed", DATASET, "--checkpoint=run", "--output=new.npz")),
    "ev": ("run.py", ("--mode=evaluate", DATASET, *TINY[2:3], *KNN, "--checkpoint=run",
                      "--map_points=0", "--model_dir=ev", "--feature_cache=cache")),
    "ws": ("export", ("import", "--source=run", "--output=ws")),
    "digits.npz": ("run.py", ("--mode=embed", *DIGITS, "--checkpoint=run", "--output=digits.npz")),
    "study": ("run.py", (*STUDY, "--report=False", "--model_dir=study")),
}  # fmt: skip
WRITTEN = ("photos", "files", "foreign")  # fixtures that no command makes
ALONG = {"ev": ("cache",), "digits.npz": ("tfds",)}  # what lies beside a command's fixture


def write_photos(folder: pathlib.Path) -> None:
    """A folder of 24 noisy images in two splits and two classes."""
    from PIL import Image

    random_ = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for label in ("cat", "dog"):
            place = folder / split / label
            place.mkdir(parents=True)
            for index in range(count):
                pixels = random_.integers(0, 256, (10, 12, 3), np.uint8)
                Image.fromarray(pixels).save(place / f"{index}.jpg")


def write_files(folder: pathlib.Path) -> None:
    """Files that a path may name although they are something else."""
    folder.mkdir()
    random_ = np.random.default_rng(1)
    (folder / "garbage.bin").write_bytes(random_.bytes(3000))
    (folder / "empty.bin").write_bytes(b"")
    (folder / "text.txt").write_text("some text\n" * 5)
    (folder / "subset.txt").write_text("train/cat/0.jpg\ntrain/dog/1.jpg\ntrain/cat/2.jpg\n")
    np.savez(folder / "objects.npz", ids=np.array([{"a": 1}], dtype=object))
    np.save(folder / "array.npy", np.zeros(3))


def write_foreign(folder: pathlib.Path) -> None:
    """Models of others that write a file when their code runs. Computes: for a child only."""
    import tensorflow as tf
    import tf_keras as keras

    class Foreign(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(tf.ones([3, 4]), name="kernel")

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
        def __call__(self, images: tf.Tensor) -> tf.Tensor:
            with tf.control_dependencies([tf.io.write_file("../outside/executed", "x")]):
                return tf.reduce_mean(images, [1, 2]) @ self.kernel

    folder.mkdir()
    module = Foreign()
    tf.saved_model.save(module, str(folder / "graph"))
    tf.saved_model.save(module, str(folder / "graph.keras"))

    def write(images):
        import tensorflow as tf  # what a Lambda closes over can't be stored

        tf.io.write_file("../outside/executed", "x")
        return images

    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.GlobalAveragePooling2D()(keras.layers.Lambda(write)(inputs))
    model = keras.Model(inputs, outputs)
    model.save(folder / "lambda.keras")
    model.save(folder / "lambda.h5", save_format="h5")
    shutil.copy(folder / "lambda.h5", folder / "hdf5.keras")
    plain = keras.Sequential([inputs, keras.layers.GlobalAveragePooling2D()])
    plain.save(folder / "plain.keras")
    tf.train.Checkpoint(kernel=module.kernel).write(str(folder / "ckpt-1"))


def make(
    folder: pathlib.Path,
    wanted: Sequence[str],
    in_child: Callable[[str, Callable[[], None]], None],
    command: Callable[[str, tuple[str, ...]], Callable[[], None]],
    say: Callable[[str], None],
) -> None:
    """Makes the fixtures that are not there yet.

    Args:
        folder: Where they lie.
        wanted: Their names.
        in_child: Runs a function in a child whose working folder is `folder`, for a name to say.
        command: The function that runs a program with its words.
        say: Receives lines for the user.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writers = {"photos": write_photos, "files": write_files}
    for name in _missing(folder, wanted):
        say(f"fixture {name} ...")
        if name in writers:
            writers[name](folder / name)
        elif name == "foreign":
            in_child(name, lambda: write_foreign(pathlib.Path("foreign")))
        else:
            in_child(name, _in_folders(command(*COMMANDS[name])))


def _in_folders(run: Callable[[], None]) -> Callable[[], None]:
    """The same after making the folder that data sets are prepared in, which must exist."""

    def made_and_run() -> None:
        os.makedirs("tfds", exist_ok=True)
        run()

    return made_and_run


def _missing(folder: pathlib.Path, wanted: Sequence[str]) -> list[str]:
    """What is to be made, in order: commands need a run and photographs."""
    made_by = {also: name for name, others in ALONG.items() for also in others}
    names = {made_by.get(name, name) for name in (*wanted, "photos", "files")}
    names = {name for name in names if not os.path.lexists(folder / name)}
    if names & COMMANDS.keys() and not os.path.lexists(folder / "run"):
        names.add("run")
    return [name for name in (*WRITTEN, *COMMANDS) if name in names]


def made_before(folder: pathlib.Path) -> list[str]:
    """The fixtures that are there."""
    names = (*WRITTEN, *COMMANDS, *(also for others in ALONG.values() for also in others))
    return [name for name in names if os.path.lexists(folder / name)]
