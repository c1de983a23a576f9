import dataclasses

import pytest

from simclr_tf import config
from simclr_tf.errors import InputError


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: config.ObjectiveConfig(temperature=0), "temperature"),
        (lambda: config.ObjectiveConfig(temperature=-0.1), "temperature"),
        (lambda: config.ObjectiveConfig(temperature=float("nan")), "temperature"),
        (lambda: config.AugmentConfig(crop_area_min=0), "crop_area_min"),
        (lambda: config.AugmentConfig(crop_area_min=1.1), "crop_area_min"),
        (lambda: config.AugmentConfig(brightness="loud"), "brightness"),
        (lambda: config.EncoderConfig(resnet_depth=20), "resnet_depth"),
        (lambda: config.EncoderConfig(width_multiplier=0), "width_multiplier"),
        (lambda: config.EncoderConfig(width_multiplier=0.01), "width_multiplier"),
        (lambda: config.ProjectionConfig(proj_head_mode="deep"), "proj_head_mode"),
        (lambda: config.ProjectionConfig(ft_proj_selector=4), "ft_proj_selector"),
        (lambda: config.OptimizerConfig(optimizer="sgd"), "optimizer"),
        (lambda: config.OptimizerConfig(learning_rate=0), "learning_rate"),
        (lambda: config.OptimizerConfig(momentum=1.0), "momentum"),
        (lambda: config.TrainConfig(train_batch_size=1), "train_batch_size"),
        (lambda: config.TrainConfig(seed=-1), "seed"),
        (lambda: config.ModelConfig(fine_tune_after_block=2), "fine_tune_after_block"),
        (lambda: config.ModelConfig(train_mode="train"), "train_mode"),
        (
            lambda: config.ModelConfig(train_mode="supervised", fine_tune_after_block=2),
            "fine_tune_after_block",
        ),
        (
            lambda: config.ModelConfig(
                train_mode="distill", projection=config.ProjectionConfig(ft_proj_selector=1)
            ),
            "ft_proj_selector",
        ),
        (lambda: config.TrainConfig(jit_compile="yes"), "jit_compile"),
        (lambda: config.ModelConfig(precision="float16"), "precision"),
        (lambda: config.DistillConfig(teacher=""), "teacher"),
        (lambda: config.DistillConfig(distill_temperature=0), "distill_temperature"),
        (lambda: config.DistillConfig(distill_alpha=1.1), "distill_alpha"),
        (lambda: config.DistillConfig(distill_alpha=-0.1), "distill_alpha"),
        (lambda: config.RunConfig("x", model=config.ModelConfig(train_mode="distill")), "teacher"),
        (lambda: config.RunConfig("x", distill=config.DistillConfig(teacher="y")), "teacher"),
        (lambda: config.DataConfig(image_size=4), "image_size"),
        (lambda: config.RunConfig(model_dir=""), "model_dir"),
        (
            lambda: config.RunConfig("x", augment=config.AugmentConfig(augmentation="one_branch")),
            "transforms",
        ),
        (
            lambda: config.RunConfig(
                "x",
                augment=config.AugmentConfig(augmentation="one_branch", transforms="crop"),
                model=config.ModelConfig(train_mode="supervised"),
            ),
            "augmentation",
        ),
    ],
)
def test_bad_values_are_refused_by_name(build, name):
    with pytest.raises(InputError) as caught:
        build()
    assert caught.value.name == name


def test_distillation_is_pure_and_unsoftened_unless_asked():
    model = config.ModelConfig(train_mode="distill")
    run = config.RunConfig("x", model=model, distill=config.DistillConfig(teacher="y"))
    assert (run.distill.distill_alpha, run.distill.distill_temperature) == (1, 1)
    assert not run.model.pretrains


def test_learning_rate_scaling_is_the_papers():
    # Section 2.3: 4.8 = 0.3 x 4096 / 256. B.1: 0.075 x sqrt(4096) = 4.8, where both agree.
    assert config.OptimizerConfig(learning_rate=0.3).peak_learning_rate(4096) == pytest.approx(4.8)
    root = config.OptimizerConfig(learning_rate=0.075, learning_rate_scaling="sqrt")
    assert root.peak_learning_rate(4096) == pytest.approx(4.8)


@pytest.mark.parametrize(("size", "stem"), [(28, "cifar"), (32, "cifar"), (33, "imagenet")])
def test_auto_stem_follows_the_image_size(size, stem):
    data = config.DataConfig(image_size=size)
    if size == 28:
        assert config.EncoderConfig().resolve_stem(size).stem == stem
    run = config.RunConfig(model_dir="x", data=data)
    assert run.model.encoder.stem == stem


def test_image_too_small_for_the_imagenet_stem():
    with pytest.raises(InputError, match="at least 32 with stem=imagenet"):
        config.EncoderConfig(stem="imagenet").resolve_stem(24)


def test_configurations_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.TrainConfig().seed = 1


@pytest.mark.parametrize(
    ("mode", "layers", "selector", "kept"),
    [
        # The reference indexes [h, layer 1, ..., layer n] by the selector, as Python does.
        ("nonlinear", 3, -1, 3), ("nonlinear", 3, -2, 2), ("nonlinear", 3, -4, 0),
        ("nonlinear", 2, 1, 1), ("linear", 3, -1, 1), ("none", 3, -1, 0),
    ],
)  # fmt: skip
def test_a_selector_counts_from_the_end_too(mode, layers, selector, kept):
    head = config.ProjectionConfig(mode, num_proj_layers=layers, ft_proj_selector=selector)
    assert head.ft_proj_selector == kept == ([0, *range(1, head.depth + 1)])[selector]


@pytest.mark.parametrize("selector", [-5, 4])
def test_a_selector_beyond_the_head_is_refused(selector):
    with pytest.raises(InputError, match="ft_proj_selector must lie between 0 and"):
        config.ProjectionConfig(ft_proj_selector=selector)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, 50_000),
        ({"eval_steps": 2}, 512),
        ({"eval_steps": 2, "eval_batch_size": 10}, 20),
        ({"eval_steps": 1000}, 50_000),
        ({"eval_steps": 2, "knn_bank_size": 40_000}, 40_000),
        ({"knn_bank_size": 100}, 100),
    ],
)
def test_eval_steps_bound_the_bank_unless_its_size_is_given(settings, size):
    assert config.EvalConfig(**settings).bank_size == size


def test_all_exports_may_be_kept():
    assert config.EvalConfig(keep_hub_module_max=0).keep_hub_module_max == 0
    with pytest.raises(InputError, match="keep_hub_module_max must be at least 0"):
        config.EvalConfig(keep_hub_module_max=-1)


@pytest.mark.parametrize(
    ("text", "statistics"),
    [("none", None), ("imagenet", ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
     ("0.5/0.25", ((0.5,) * 3, (0.25,) * 3)), ("0,0.1,0.2/1,2,3", ((0, 0.1, 0.2), (1, 2, 3)))],
)  # fmt: skip
def test_input_norm_is_mean_and_deviation_of_each_channel(text, statistics):
    assert config.EncoderConfig(input_norm=text).pixel_statistics == statistics


@pytest.mark.parametrize("text", ["", "imagenett", "0.5", "0.5/0", "0.5/-1", "1,2/1,2", "a/b",
                                  "0.5/nan", "nan/1", "1/2/3"])  # fmt: skip
def test_a_bad_input_norm_is_refused(text):
    with pytest.raises(InputError, match="input_norm must be none, imagenet, cifar10 or means"):
        config.EncoderConfig(input_norm=text)


def test_a_bad_variant_is_refused():
    with pytest.raises(InputError, match="resnet_variant must be one of"):
        config.EncoderConfig(resnet_variant="keras")


def test_which_encoders_of_the_same_shapes_are_the_same_function():
    def encoder(depth, stem, variant, norm="none"):
        return config.EncoderConfig(depth, stem=stem, resnet_variant=variant, input_norm=norm)

    deep = encoder(50, "cifar", "simclr")
    assert deep.computes_like(encoder(50, "cifar", "torchvision"))  # nothing to pool or to project
    assert not deep.computes_like(encoder(50, "cifar", "solo_learn"))
    assert not deep.computes_like(encoder(50, "cifar", "simclr", "imagenet"))
    imagenet = encoder(50, "imagenet", "torchvision")
    assert imagenet.computes_like(encoder(50, "imagenet", "solo_learn"))
    assert not imagenet.computes_like(encoder(50, "imagenet", "simclr"))
    assert not encoder(18, "cifar", "simclr").computes_like(encoder(18, "cifar", "torchvision"))
