import json
import os
import re

import pytest

from simclr_tf.errors import InputError
from simclr_tf.flags import parsing

README_LINE = (
    "--train_mode=pretrain --train_batch_size=512 --train_epochs=1000 --learning_rate=1.0 "
    "--weight_decay=1e-4 --temperature=0.5 --dataset=cifar10 --image_size=32 --eval_split=test "
    "--resnet_depth=18 --use_blur=False --color_jitter_strength=0.5 --model_dir=/tmp/simclr_test "
    "--use_tpu=False --train_summary_steps=0"
)


def parse(line):
    return parsing.parse_command_line(line.split())


def test_reference_command_line_keeps_its_meaning():
    command = parse(README_LINE)
    run = command.config
    assert command.mode == "train"
    assert (run.data.dataset, run.data.image_size, run.data.eval_split) == ("cifar10", 32, "test")
    assert (run.train.train_batch_size, run.train.train_epochs) == (512, 1000)
    assert (run.optimizer.learning_rate, run.optimizer.weight_decay) == (1.0, 1e-4)
    assert (run.objective.temperature, run.augment.use_blur) == (0.5, False)
    assert run.model.encoder.stem == "cifar"
    assert "train_summary_steps" in command.notes[0]


def test_without_dataset_the_quickstart_recipe_holds_and_flags_win():
    run = parse("--mode=train_then_eval --temperature=0.7").config
    assert run.data.dataset == "patterns"
    assert run.objective.temperature == 0.7
    assert re.fullmatch(r"runs/quickstart-\d{8}-\d{6}", run.model_dir)


def test_with_dataset_the_reference_defaults_hold():
    run = parse("--dataset=imagenet2012_subset/1pct").config
    assert (run.model.encoder.resnet_depth, run.train.train_batch_size) == (50, 512)
    assert re.fullmatch(r"runs/imagenet2012_subset_1pct-\d{8}-\d{6}", run.model_dir)


def test_recipe_and_dataset_together():
    run = parse("--recipe=cifar10_r18 --dataset=digits").config
    assert (run.data.dataset, run.model.encoder.resnet_depth) == ("digits", 18)


def test_an_existing_run_goes_on_with_its_own_flags(tmp_path):
    recorded = {"dataset": "digits", "resnet_depth": 34, "mode": "train", "data_dir": None,
                "recipe": "cifar10_r18", "image_size": 32, "obsolete": 1}  # fmt: skip
    (tmp_path / "flags.json").write_text(json.dumps(recorded))
    command = parse(f"--mode=eval --model_dir={tmp_path} --eval_steps=2")
    assert (command.config.data.dataset, command.config.model.encoder.resnet_depth) == (
        "digits",
        34,
    )
    assert (command.mode, command.config.evaluation.eval_steps) == ("eval", 2)


def test_the_flags_of_the_reference_can_be_read(tmp_path):
    """As its evaluation writes them: absl's own among them, unset ones empty or null."""
    recorded = {"logtostderr": False, "log_dir": "", "v": -2, "verbosity": -2, "help": False,
                "logger_levels": {}, "stderrthreshold": "fatal", "tfds_debug_list_dir": False,
                "learning_rate": 1.0, "train_epochs": 1000, "train_steps": 0, "use_tpu": False,
                "dataset": "cifar10", "eval_split": "test", "mode": "train_then_eval", "?": False,
                "master": None, "tpu_name": None, "width_multiplier": 1, "image_size": 32,
                "model_dir": "/elsewhere", "use_blur": False, "checkpoint": None}  # fmt: skip
    (tmp_path / "flags.json").write_text(json.dumps(recorded))
    run = parse(f"--model_dir={tmp_path} --data_dir=mine").config
    assert (run.data.dataset, run.optimizer.learning_rate) == ("cifar10", 1.0)
    assert (run.model_dir, run.train.train_epochs) == (str(tmp_path), 1000)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--foo=1", "foo"),
        ("--temperatur=1", "did you mean --temperature?"),
        ("--train_steps=many", "--train_steps must be a whole number"),
        ("--use_blur=perhaps", "use_blur"),
        ("train", "--name=value"),
        ("--nouse_blur=3", "does not take an argument"),
    ],
)
def test_unreadable_command_lines(line, words):
    with pytest.raises(parsing.UsageError, match=re.escape(words)):
        parse(line)


def test_eval_needs_a_model_dir():
    with pytest.raises(InputError, match="model_dir"):
        parse("--mode=eval --dataset=digits")


def test_what_was_written_is_told_from_defaults():
    """0 that somebody asked for settles how foreign weights are read, the default 0 does not."""
    line = "--mode=eval --model_dir=x --dataset=digits --ft_proj_selector=0"
    given = parse(line).given
    assert given == {"mode", "model_dir", "dataset", "ft_proj_selector"}


def test_errors_are_one_line_with_the_flag():
    error = InputError("temperature", "must be greater than 0", 0)
    assert parsing.describe_error(error) == "--temperature must be greater than 0. Received: 0"
    assert parsing.describe_error(InputError("a/b.jpg", "must be an image", 1)).startswith("a/b")
    assert parsing.describe_error(RuntimeError("two\nlines")) == "two lines"


def test_broken_flags_file_is_named(tmp_path):
    (tmp_path / "flags.json").write_text("{")
    with pytest.raises(InputError, match=r"flags\.json must be JSON"):
        parse(f"--model_dir={tmp_path}")


@pytest.mark.parametrize(("mode", "expected"), [("eval", None), ("train", "runs/a")])
def test_starting_weights_serve_training_and_are_not_evaluated(tmp_path, mode, expected):
    recorded = {"dataset": "digits", "image_size": 32, "checkpoint": "runs/a"}
    (tmp_path / "flags.json").write_text(json.dumps(recorded))
    assert parse(f"--mode={mode} --model_dir={tmp_path}").config.checkpoint == expected


def test_flags_of_the_network_are_said_to_be_ignored_where_weights_decide(tmp_path):
    words = ["--mode=evaluate", "--dataset=digits", f"--checkpoint={tmp_path}", "--resnet_depth=18"]
    note, hint = parsing.parse_command_line([*words, "--fine_tune_after_block=-1"]).notes
    assert "--resnet_depth" in note and "no effect" in note and "--finetune_after_block" in hint
    assert parsing.parse_command_line(words[:-1]).notes == ()


def test_evaluate_takes_images_and_schedule_from_the_run(tmp_path):
    recorded = {"dataset": "digits", "learning_rate": 0.7, "label_subset": "1%", "image_size": 8,
                "resnet_depth": 34, "mode": "train"}  # fmt: skip
    (tmp_path / "flags.json").write_text(json.dumps(recorded))
    for checkpoint in (tmp_path, tmp_path / "ckpt-3", tmp_path / "saved_model" / "3"):
        found = parsing.parse_command_line(["--mode=evaluate", f"--checkpoint={checkpoint}"])
        data, optimizer = found.config.data, found.config.optimizer
        assert (data.dataset, data.label_subset) == ("digits", None)
        assert optimizer.learning_rate == 0.7
        assert found.config.image_size is None
    other = ["--mode=evaluate", f"--checkpoint={tmp_path}", "--dataset=patterns"]
    assert parsing.parse_command_line(other).config.data.image_size == 224


def test_embedding_needs_images():
    with pytest.raises(InputError, match="dataset must name the images"):
        parsing.parse_command_line(["--mode=embed", "--checkpoint=a", "--output=b.npz"])


def test_home_is_expanded_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = parse("--mode=neighbors --embeddings=~/a.npz --query=~/b.png --output=~/c.png").config
    assert config.embeddings == str(tmp_path / "a.npz")
    assert config.query == str(tmp_path / "b.png")
    config = parse(
        "--mode=explore --embeddings=~/a.npz --labels=~/l.csv --dataset=folder:~/p"
    ).config
    assert config.labels == str(tmp_path / "l.csv")
    assert config.image_folder == str(tmp_path / "p")
    config = parse("--mode=evaluate --checkpoint=~/c --dataset=digits --compare_with=~/d "
                   "--feature_cache=~/e").config  # fmt: skip
    assert config.checkpoint == str(tmp_path / "c")
    assert config.protocols.compare_with == str(tmp_path / "d")
    assert config.protocols.feature_cache == str(tmp_path / "e")


@pytest.mark.parametrize("mode", parsing.SERVICE_MODES)
def test_a_process_of_the_data_service_needs_its_address_alone(mode):
    with pytest.raises(InputError, match="data_service must be given"):
        parsing.parse_command_line([f"--mode={mode}"])
    found = parsing.parse_command_line(
        [f"--mode={mode}", "--data_service=grpc://head:5050", "--worker_address=me:1"]
    )
    assert found.config.data_service == "grpc://head:5050"
    assert found.config.worker_address == "me:1"
    with pytest.raises(InputError, match="worker_address must have the form host:port"):
        parsing.parse_command_line(
            [f"--mode={mode}", "--data_service=grpc://head:5050", "--worker_address=me"]
        )
    with pytest.raises(InputError, match="data_service must have the form grpc://host:port"):
        parsing.parse_command_line([f"--mode={mode}", "--data_service=head:5050"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--gradient_cache_chunk=6", "must divide train_batch_size=512"),
        ("--gradient_cache_chunk=64 --train_mode=supervised", "needs train_mode=pretrain"),
        ("--loss_block_size=-1", "must be at least 0"),
        ("--gradient_cache_bn=none", "must be one of chunk, frozen"),
        ("--gradient_cache_bn=frozen", "needs gradient_cache_chunk"),
        ("--data_service=grpc://a:99999", "the port from 1 to 65535"),
        ("--keep_best=loss", "must name a metric, train/NAME, eval/NAME or quality/NAME"),
        ("--skip_nonfinite_steps=-1", "must be at least 0"),
        ("--data_sharding=files", "must be one of auto, batch, split"),
        ("--strategy=many", "must be one of auto, one_device, mirrored, multi_worker, tpu"),
        ("--strategy=tpu --num_logical_cpus=2", "needs strategy=mirrored"),
    ],
)
def test_bad_settings_of_scale_name_the_flag(flags, message):
    with pytest.raises(InputError, match=message):
        parsing.parse_command_line(["--dataset=digits", "--model_dir=a", *flags.split()])


def test_a_study_is_named_with_its_mode_and_only_there():
    command = parse("--mode=study --study=losses --study_budget=3min")
    assert command.config.study.budget_minutes == 3.0
    assert os.path.basename(command.config.run.model_dir).startswith("losses-quickstart-")
    with pytest.raises(InputError, match="study must be given with mode=study"):
        parse("--mode=study")
    for line in ("--study=losses", "--mode=eval --model_dir=x --study=losses"):
        with pytest.raises(InputError, match="study has no effect with .*, only with --mode=study"):
            parse(line)
    with pytest.raises(InputError, match="strategy must not be multi_worker with --mode=study"):
        parse("--mode=study --study=losses --strategy=multi_worker")


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        ("--mode=trian", "train"),
        ("--recipe=cifar10_cup", "cifar10_cpu"),
        ("--optimizer=lar", "lars"),
        ("--strategy=miror", "mirrored"),
        ("--augmentation=simcrl", "simclr"),
        ("--transforms=soble", "sobel"),
        ("--mode=study --study=loss", "losses"),
        ("--mode=evaluate --checkpoint=x --dataset=digits --protocols=knn,liner", "linear"),
    ],
)
def test_a_mistyped_choice_gets_the_nearest(words, nearest):
    with pytest.raises(InputError, match=rf"must be one of .*\(did you mean {nearest}\?\)"):
        parse(words)


def test_a_recipe_is_a_name_or_a_file(tmp_path):
    (tmp_path / "other.flags").write_text("--seed=3\n--dataset=digits")
    assert parsing.parse_command_line([f"--recipe={tmp_path}/other.flags"]).flags["seed"] == 3
    with pytest.raises(InputError, match="recipe must be a file that exists, or one of"):
        parsing.parse_command_line([f"--recipe={tmp_path}/other"])


def test_absls_logging_flags_are_taken_and_those_without_effect_are_said():
    line = ("--alsologtostderr --logtostderr=0 --log_dir=/tmp/a --stderrthreshold=info "
            "--noshowprefixforinfo --verbosity=-1 --dataset=digits")  # fmt: skip
    command = parse(line)
    assert command.verbosity == -1
    (note,) = command.notes
    assert "--alsologtostderr" in note and "--log_dir" in note and "no effect" in note
    assert "verbosity" not in note and "log_dir" not in command.flags
    assert parse("-v 1 --dataset=digits").verbosity == 1
    assert parse("--dataset=digits").verbosity is None


def test_a_text_that_is_no_utf8_is_refused_by_its_flag():
    with pytest.raises(InputError, match="model_dir must be a text in UTF-8"):
        parsing.parse_command_line(["--model_dir=a\udcfc"])


def test_a_text_that_the_language_cannot_say_is_refused(monkeypatch):
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    assert parse("--model_dir=a").config.model_dir == "a"
    with pytest.raises(InputError, match="model_dir must be plain ASCII .*PYTHONUTF8=1"):
        parsing.parse_command_line(["--model_dir=\udcc3\udcbc"])


def test_the_selector_of_an_evaluation_counts_in_the_encoders_own_head(tmp_path):
    line = f"--mode=evaluate --checkpoint={tmp_path} --dataset=digits --ft_proj_selector="
    assert parse(line + "-1").config.ft_proj_selector == -1
    assert parse(line + "5").config.ft_proj_selector == 5


def test_graphs_of_others_run_only_where_any_encoder_is_taken():
    for mode in ("evaluate", "embed", "neighbors"):
        files = {"embed": " --output=y.npz", "neighbors": " --embeddings=y.npz"}.get(mode, "")
        line = f"--mode={mode} --checkpoint=x --dataset=folder:x{files}"
        assert parse(line).config.allow_foreign_graph is False
        assert parse(f"{line} --allow_foreign_graph").config.allow_foreign_graph is True
    with pytest.raises(InputError, match="allow_foreign_graph has no effect with --mode=train"):
        parsing.parse_command_line(["--mode=train", "--allow_foreign_graph", "--dataset=digits"])


def test_of_somebody_elses_record_only_images_and_schedule_count(tmp_path):
    hostile = {
        "checkpoint": "http://host/x.tar.gz", "teacher": "/x.keras", "data_service": "grpc://host:1",
        "output": "/tmp/x", "embeddings": "/x", "query": "/x", "feature_cache": "/x",
        "compare_with": "/x", "label_subset": "/x", "model_dir": "/x", "allow_foreign_graph": True,
        "tpu_name": "grpc://host:1", "master": "grpc://host:1", "strategy": "tpu",
        "worker_address": "host:1", "debug": True,
    }  # fmt: skip
    harmless = {"dataset": "digits", "data_dir": "/not mine", "train_epochs": 7}
    (tmp_path / "flags.json").write_text(json.dumps({**hostile, **harmless}))
    words = ["--mode=evaluate", f"--checkpoint={tmp_path}", "--model_dir=out"]
    command = parsing.parse_command_line(words)
    plain = parsing.parse_command_line([*words, "--dataset=digits", "--train_epochs=7"])
    assert command.config == plain.config
    assert not command.config.allow_foreign_graph and not command.debug
    for dataset, text in (("huggingface:x", "nor a name of TFDS itself"),
                          ("cifar10", "cifar10 is not prepared in the recorded one")):  # fmt: skip
        (tmp_path / "flags.json").write_text(json.dumps({**harmless, "dataset": dataset}))
        with pytest.raises(InputError, match=text):
            parsing.parse_command_line(["--mode=evaluate", f"--checkpoint={tmp_path}"])
    words = ["--mode=evaluate", f"--checkpoint={tmp_path}", "--data_dir=mine"]
    assert parsing.parse_command_line(words).config.data.data_dir == "mine"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data_service", "grpc://127.0.0.1:18999"),
        ("checkpoint", "http://127.0.0.1:18999/x.tar.gz"),
        ("teacher", "gs://bucket/run"),
        ("tpu_name", "grpc://127.0.0.1:18999"),
        ("master", "grpc://127.0.0.1:18999"),
        ("dataset", "huggingface:rotten"),
        ("dataset", "emnist/letters"),
    ],
)
def test_a_record_leads_to_no_other_machine(name, value, tmp_path):
    record = {"dataset": "digits", "train_mode": "distill", "teacher": "runs/t", name: value}
    (tmp_path / "flags.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="must be given") as caught:
        parsing.parse_command_line(["--mode=train", f"--model_dir={tmp_path}"])
    assert caught.value.name in (name, "data_dir")
    again = [f"--{name}={value}", "--teacher=runs/t"][: 1 if name == "teacher" else 2]
    if name != "dataset":
        parsing.parse_command_line(["--mode=train", f"--model_dir={tmp_path}", *again])


def test_a_recorded_tpu_is_left_by_its_switch(tmp_path):
    (tmp_path / "flags.json").write_text(json.dumps({"dataset": "digits", "tpu_name": "x"}))
    command = parsing.parse_command_line([f"--model_dir={tmp_path}", "--use_tpu=False"])
    assert not command.config.strategy.names_tpu


def test_an_automatic_recipe_sets_what_is_not_given(tmp_path, monkeypatch):
    from simclr_tf.automatic import recipe

    asked = []

    def settle(*words):
        asked.append(words)
        return {"image_size": 48, "train_steps": 7, "use_blur": False}

    monkeypatch.setattr(recipe, "settle", settle)
    line = "--recipe=photos --dataset=folder:~/a --budget=10m --temperature=0.3"
    command = parse(f"{line} --mode=train_then_eval")
    (name, given, budget, _), run = asked[0], command.config
    assert (name, budget) == ("photos", "10m")
    assert given == {"dataset": "folder:~/a", "temperature": 0.3}
    assert (run.data.image_size, run.train.train_steps, run.augment.use_blur) == (48, 7, False)
    assert run.objective.temperature == 0.3 and command.flags["budget"] == "10m"
    assert re.fullmatch(r"runs/photos-\d{8}-\d{6}", run.model_dir)
    parsing.in_force([*line.split(), "--help"][:-1])
    assert len(asked) == 1  # help looks at no images


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--budget=10m", "^budget needs --recipe=photos or auto"),
        ("--recipe=photos --dataset=folder:a --budget=10", "^budget must be a time"),
        ("--recipe=photos", "^dataset must name the images"),
        ("--recipe=auto --dataset=digits --mode=evaluate", "^recipe must not be automatic"),
        ("--recipe=foto --dataset=digits", "did you mean photos"),
    ],
)
def test_bad_automatic_recipes(line, says):
    with pytest.raises(InputError, match=says):
        parse(line)


def test_the_folder_of_fetched_weights_is_no_setting_of_the_run():
    line = parsing.parse_command_line(["--dataset=patterns", "--cache_dir=~/big"])
    assert line.cache_dir == os.path.expanduser("~/big") and "cache_dir" not in line.flags
    assert parsing.parse_command_line(["--dataset=patterns"]).cache_dir is None


def test_a_record_fetches_no_published_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    recorded = {"dataset": "patterns", "checkpoint": "simclrv2/r50_1x_sk1"}
    (tmp_path / "flags.json").write_text(json.dumps(recorded))
    with pytest.raises(InputError, match="checkpoint must be given again"):
        parsing.parse_command_line([f"--model_dir={tmp_path}"])
    given = [f"--model_dir={tmp_path}", "--checkpoint=simclrv2/r50_1x_sk1"]
    assert parsing.parse_command_line(given).config.checkpoint == "simclrv2/r50_1x_sk1"
    monkeypatch.setattr(parsing.buckets, "kept", lambda address: "/copy")
    kept = parsing.parse_command_line([f"--model_dir={tmp_path}"])
    assert kept.config.checkpoint == "simclrv2/r50_1x_sk1"


def test_evaluate_takes_over_the_record_of_a_run_in_a_bucket(tmp_path, monkeypatch):
    (tmp_path / "flags.json").write_text('{"dataset": "digits", "mode": "train"}')
    monkeypatch.setattr(parsing.buckets, "fetch", lambda address: str(tmp_path / "ckpt-1"))
    line = parsing.parse_command_line(["--mode=evaluate", "--checkpoint=gs://b/run"])
    assert line.config.data.dataset == "digits"
    with pytest.raises(InputError, match="dataset must be given"):
        parsing.parse_command_line(["--mode=evaluate", "--checkpoint=simclrv2/r50_1x_sk1"])
