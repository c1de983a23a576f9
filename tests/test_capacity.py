import pytest

from simclr_tf import capacity, config
from simclr_tf.config import EncoderConfig, ModelConfig, ProjectionConfig, RunConfig
from simclr_tf.errors import InputError
from simclr_tf.job import Job
from simclr_tf.models.network import Network

GIB = 2**30


def _model(depth, width=1.0, **settings):
    return ModelConfig(encoder=EncoderConfig(depth, width, stem="imagenet"), **settings)


def test_the_kernels_of_a_resnet_50_are_counted():
    # 25,557,032 parameters as published, less 2,049,000 of the classifier, 9,408 of the stem's
    # convolution and 53,120 of batch norm (twice its 26,560 channels).
    headless = ProjectionConfig(proj_head_mode="none")
    counted = capacity.least_parameters(_model(50, projection=headless), None)
    assert counted == 25_557_032 - 2_049_000 - 9_408 - 53_120
    assert capacity.least_parameters(_model(50, projection=headless), 1000) == counted + 2_048_000


@pytest.mark.parametrize(
    "settings",
    [
        {"depth": 18},
        {"depth": 34, "train_mode": "supervised"},
        {"depth": 18, "train_mode": "finetune",
         "projection": ProjectionConfig(proj_out_dim=7, num_proj_layers=2, ft_proj_selector=2)},
        {"depth": 18, "projection": ProjectionConfig("linear", proj_out_dim=7)},
    ],
)  # fmt: skip
def test_it_is_a_lower_bound_of_what_is_built(settings):
    config_ = _model(width=1 / 16, **settings)
    kernels = [
        variable.shape.num_elements()
        for variable in Network(config_, 10).trainable_variables
        if variable.name.endswith("kernel:0") and "stem" not in variable.name
    ]
    assert capacity.least_parameters(config_, 10) == sum(kernels)


def _run(size=32, **parts):
    return RunConfig("x", data=config.DataConfig(image_size=size), **parts)


@pytest.mark.parametrize(
    ("run", "trains", "name"),
    [
        (_run(model=_model(50, 32.0)), False, "width_multiplier"),
        (_run(model=_model(50, 16.0)), True, "width_multiplier"),  # 6 G weights, three times
        (_run(model=_model(50, 4.0, projection=ProjectionConfig(num_proj_layers=100))), False,
         "num_proj_layers"),
        (_run(224, evaluation=config.EvalConfig(eval_batch_size=2**24)), False, "eval_batch_size"),
        (_run(224, train=config.TrainConfig(train_batch_size=2**20)), True, "train_batch_size"),
        (_run(32, train=config.TrainConfig(train_batch_size=2**19)), True, "train_batch_size"),
        (_run(8192), True, "eval_batch_size"),
    ],
)  # fmt: skip
def test_what_can_not_fit_is_refused_before_it_is_built(monkeypatch, run, trains, name):
    monkeypatch.setattr(capacity, "physical_bytes", lambda: 24 * GIB)
    with pytest.raises(InputError, match="must be smaller: .* this machine has 24 GiB") as caught:
        capacity.check_run(run, 10, Job(), trains)
    assert caught.value.name == name
    monkeypatch.setattr(capacity, "physical_bytes", lambda: None)  # the system does not say
    capacity.check_run(run, 10, Job(), trains)


def test_what_fits_is_not_refused(monkeypatch):
    monkeypatch.setattr(capacity, "physical_bytes", lambda: 16 * GIB)
    small = _run(evaluation=config.EvalConfig(eval_batch_size=4096))
    capacity.check_run(small, 10, Job(), True)  # ResNet-50, batch 512
    capacity.check_run(_run(224), 1000, Job(), False)
    cached = config.TrainConfig(train_batch_size=8192, gradient_cache_chunk=64)
    capacity.check_run(_run(128, train=cached), 1000, Job(), True)
    monkeypatch.setattr(capacity, "physical_bytes", lambda: 4 * 10**6)
    capacity.check_images(50, 64)
    with pytest.raises(InputError, match="eval_batch_size must be smaller: 50 images of 96 px"):
        capacity.check_images(50, 96)
    with pytest.raises(InputError, match="50 images of 64 px and 12 channels take at least 0.009"):
        capacity.check_images(50, 64, channels=12)  # 50 * 64^2 * 12 * 4 bytes
    capacity.check_copies(2 * 10**6, "dataset", "its images")
    with pytest.raises(InputError, match="dataset must be smaller: its images and the copy made"):
        capacity.check_copies(2 * 10**6 + 1, "dataset", "its images")


def test_this_machine_has_memory():
    assert capacity.physical_bytes() > GIB
