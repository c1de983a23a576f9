"""Commands: their limits, and which flags each mode reads."""

import math

import pytest

from simclr_tf.errors import InputError
from simclr_tf.flags import parsing
from simclr_tf.settings import by_name
from simclr_tf.settings.commands import Explore, Neighbors


def test_defaults():
    config = Neighbors("x.npz")
    assert (config.output, config.query, config.checkpoint) == (None, None, None)
    assert (config.num_neighbors, config.duplicate_similarity) == (10, None)
    assert config.similarity == "centred"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"output": ""}, "output must name a file"),
        ({"embeddings": ""}, "embeddings must name a file that"),
        ({"query": ""}, "query must name"),
        ({"num_neighbors": 0}, "num_neighbors must be at least 1"),
        ({"num_neighbors": 2**31}, "num_neighbors must be at least 1"),
        ({"duplicate_similarity": 0.0}, "duplicate_similarity must be greater than 0"),
        ({"duplicate_similarity": 1.01}, "duplicate_similarity must be greater than 0"),
        ({"duplicate_similarity": math.nan}, "duplicate_similarity must be greater than 0"),
    ],
)
def test_bad_values(change, text):
    with pytest.raises(InputError, match=text):
        Neighbors(**{"embeddings": "x.npz", **change})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"output": ""}, "output must name a file"),
        ({"embeddings": None}, "embeddings must name a file that"),
        ({"labels": ""}, "labels must name a CSV file"),
        ({"num_groups": 0}, "num_groups must be at least 1"),
        ({"num_groups": 201}, "num_groups must be at least 1 and at most 200"),
        ({"similarity": "dot"}, "similarity must be one of"),
        ({"duplicate_similarity": 0.0}, "duplicate_similarity must be greater than 0"),
    ],
)
def test_bad_values_of_explore(change, text):
    with pytest.raises(InputError, match=text):
        Explore(**{"embeddings": "x.npz", **change})


# What each mode took without a word once. A flag of the reference is said to do nothing in training
# and evaluation; any other one is refused there, and all are elsewhere.
PROTOCOLS = {"protocols": "knn", "knn_neighbors": "5", "linear_epochs": "3", "map_points": "0",
             "feature_cache": "x", "distill_steps": "3", "compare_with": "x"}  # fmt: skip
RETRIEVAL = {"output": "x.npz", "embeddings": "x", "query": "y", "num_neighbors": "3",
             "duplicate_similarity": "0.5", "worker_address": "a:1", "num_groups": "3",
             "labels": "x.csv"}  # fmt: skip
STUDIES = {"study": "losses", "study_budget": "9", "study_seeds": "2", "study_grid": "paper"}
OBJECTIVE = {"objective": "nt_logistic", "negatives": "other_view", "loss_block_size": "8"}
STEP = {"skip_nonfinite_steps": "1", "gradient_cache_chunk": "8", "remat": "True",
        "jit_compile": "off", "data_sharding": "split", "read_retries": "1",
        "keep_best": "train/contrast_loss"}  # fmt: skip
TRAINING = "--mode=train --dataset=digits --image_size=8"
EVALUATE = "--mode=evaluate --checkpoint=x --dataset=digits"
EMBED = "--mode=embed --checkpoint=x --dataset=digits --output=x.npz"
NEIGHBORS = "--mode=neighbors --embeddings=x.npz"
EXPLORE = "--mode=explore --embeddings=x.npz"
STUDY = "--mode=study --study=losses --dataset=digits --image_size=8"
REFUSED = [
    (TRAINING, {**PROTOCOLS, **RETRIEVAL, **STUDIES, "margin": "2", "distill_temperature": "0.1",
                "distill_alpha": "0.5", "eval_timeout_secs": "3", "knn": "False",
                "knn_bank_size": "9", "linear_probe": "True", "allow_foreign_graph": "True"}),
    ("--mode=train_then_eval --dataset=digits --image_size=8",
     {**PROTOCOLS, **RETRIEVAL, **STUDIES, "margin": "2", "eval_timeout_secs": "3"}),
    (f"{TRAINING} --train_mode=finetune", {**OBJECTIVE, "augmentation": "autoaugment",
                                           "transforms": "sobel", "brightness": "additive",
                                           "views": "crop"}),
    (f"{TRAINING} --views=crop", {"brightness": "additive", "crop_area_min": "0.5"}),
    (f"{TRAINING} --train_mode=supervised", {**OBJECTIVE, "distill_alpha": "0.5"}),
    (f"{TRAINING} --train_mode=distill --teacher=x", {**OBJECTIVE, "brightness": "additive"}),
    (f"{TRAINING} --report=False", {"report_examples": "9"}),
    ("--mode=eval --model_dir=x", {**PROTOCOLS, **RETRIEVAL, **OBJECTIVE, **STEP,
                                   "crop_area_min": "0.5", "report_examples": "9"}),
    (EVALUATE, {**RETRIEVAL, **STUDIES, **OBJECTIVE, **STEP, "linear_probe": "True",
                "knn_bank_size": "9", "report": "False", "augment_on": "host",
                "distill_alpha": "0.5", "label_subset": "1%", "views": "crop"}),
    (EMBED, {**PROTOCOLS, **OBJECTIVE, **STEP, **STUDIES, "seed": "3", "learning_rate": "3",
             "label_subset": "1%", "query": "x", "embeddings": "x", "deterministic": "True",
             "resnet_depth": "18", "train_epochs": "3"}),
    (NEIGHBORS, {**PROTOCOLS, **STEP, "learning_rate": "3", "endpoint": "x", "eval_split": "x",
                 "skip_bad_images": "True", "eval_batch_size": "8", "num_logical_cpus": "2",
                 "dataset": "cifar10", "num_groups": "3", "labels": "x.csv",
                 "num_neighbors": "3"}),
    (EXPLORE, {**PROTOCOLS, **STEP, "query": "x", "num_neighbors": "3", "checkpoint": "x",
               "endpoint": "x", "eval_split": "x", "dataset": "cifar10"}),
    (STUDY, {**PROTOCOLS, **RETRIEVAL, "views": "crop", "distill_alpha": "0.5", "knn": "False",
             "keep_hub_module_max": "3", "checkpoint_steps": "3", "keep_checkpoint_max": "3"}),
    ("--mode=data_worker --data_service=grpc://a:1", {**PROTOCOLS, "seed": "3", "dataset": "x"}),
]  # fmt: skip
NOTED = [
    (f"{TRAINING} --train_mode=finetune", {"temperature": "0.5", "hidden_norm": "False",
                                           "color_jitter_strength": "0.5", "use_blur": "False"}),
    (f"{TRAINING} --views=crop", {"color_jitter_strength": "0.5", "use_blur": "False"}),
    (f"{TRAINING} --train_steps=3", {"train_epochs": "3", "eval_steps": "3"}),
    ("--mode=eval --model_dir=x", {"learning_rate": "1", "warmup_epochs": "1", "momentum": "0.5",
                                   "checkpoint_steps": "3", "keep_checkpoint_max": "3",
                                   "cache_dataset": "True", "temperature": "0.5"}),
    (EVALUATE, {"resnet_depth": "18", "temperature": "0.5", "eval_steps": "3"}),
]  # fmt: skip
READ = [
    (f"{TRAINING} --objective=margin_triplet", {"margin": "2.5"}),
    (f"{TRAINING} --train_mode=distill --teacher=x", {"distill_temperature": "0.1"}),
    ("--mode=train_then_eval --dataset=digits --image_size=8", {"knn_bank_size": "9"}),
    (EVALUATE, {"distill_temperature": "0.1", "deterministic": "True", "train_steps": "9",
                "crop_area_min": "0.5", "learning_rate": "1.5"}),
    (EMBED, {"train_split": "test", "eval_split": "test", "endpoint": "block_group1",
             "skip_bad_images": "True", "image_size": "16", "num_logical_cpus": "2"}),
    (f"{NEIGHBORS} --query=x", {"num_neighbors": "3"}),
    (NEIGHBORS, {"dataset": "folder:x"}),
    (EXPLORE, {"num_groups": "3", "labels": "x.csv", "output": "x.html", "similarity": "cosine",
               "duplicate_similarity": "0.5", "dataset": "folder:x"}),
    (STUDY, {"study_seeds": "3", "knn_bank_size": "9", "eval_steps": "3", "temperature": "0.5"}),
]  # fmt: skip


def _each(table):
    return [
        pytest.param(line, f"--{name}={text}", id=f"{line} {name}")
        for line, flags in table
        for name, text in flags.items()
        if f"--{name}=" not in line
    ]


@pytest.mark.parametrize(("line", "flag"), _each(REFUSED))
def test_a_flag_that_does_nothing_is_refused(line, flag):
    parsing.parse_command_line(line.split())
    with pytest.raises(InputError, match=r"has no effect with --\w+=|must be folder:PATH") as error:
        parsing.parse_command_line([*line.split(), flag])
    assert flag.startswith(f"--{error.value.name}=")


@pytest.mark.parametrize(("line", "flag"), _each(NOTED))
def test_a_flag_of_the_reference_that_does_nothing_is_noted(line, flag):
    notes = parsing.parse_command_line([*line.split(), flag]).notes
    assert [note for note in notes if flag.partition("=")[0] in note and "no effect" in note]


@pytest.mark.parametrize(("line", "flag"), _each(READ))
def test_a_flag_that_is_read_goes_without_a_word(line, flag):
    name, _, text = flag.removeprefix("--").partition("=")
    command = parsing.parse_command_line([*line.split(), flag])
    assert not [note for note in command.notes if flag.partition("=")[0] in note]
    values = by_name.flatten(command.config)
    assert str(values.get(name, values.get("image_folder"))) in (text, text.partition(":")[2])


def test_what_a_recipe_sets_for_another_mode_does_not_count():
    command = parsing.parse_command_line(["--recipe=evaluate_cpu", *TRAINING.split()])
    assert "protocols" not in by_name.flatten(command.config) and command.notes == ()
