import itertools
import math
import pathlib

import pytest

from simclr_tf.automatic import choice
from simclr_tf.automatic.facts import Machine, Pictures
from simclr_tf.settings import by_name
from simclr_tf.settings.run import RunConfig

GIB = 2**30
LAPTOP = Machine("CPU", 1, 2, 16 * GIB, True)
GPU = Machine("GPU", 1, 16, 24 * GIB, True)
GPUS = Machine("GPU", 8, 64, 80 * GIB, True)


def chosen(images, machine, hours, side=500):
    return choice.choose(Pictures(images, side), machine, 3600 * hours).settings


@pytest.mark.parametrize(
    ("machine", "hours", "wanted"),
    [
        (LAPTOP, 1 / 6, (18, 0.25, 64)),
        (LAPTOP, 1, (18, 0.5, 64)),
        (LAPTOP, 8, (18, 1.0, 96)),
        (LAPTOP._replace(bfloat16=False), 0.5, (18, 0.25, 64)),
        (GPU, 1 / 6, (18, 1.0, 96)),
        (GPU, 1, (50, 1.0, 128)),
        (GPU, 8, (50, 1.0, 224)),
        (GPUS, 1, (50, 1.0, 224)),
    ],
)
def test_the_network_grows_with_time_and_machine(machine, hours, wanted):
    found = chosen(30_000, machine, hours)
    names = ("resnet_depth", "width_multiplier", "image_size")
    assert tuple(found[name] for name in names) == wanted


def test_images_are_not_enlarged():
    assert [chosen(9000, GPU, 8, side)["image_size"] for side in (28, 32, 63, 64, 200, 4000)] == [
        32, 32, 48, 64, 192, 224]  # fmt: skip


def test_batches_are_powers_of_two_for_each_device_and_leave_two_steps_an_epoch():
    for images, machine in itertools.product((5, 300, 30_000, 3_000_000), (LAPTOP, GPU, GPUS)):
        batch = chosen(images, machine, 1)["train_batch_size"]
        each = batch / machine.devices
        assert math.log2(each).is_integer() and batch % machine.devices == 0
        assert batch <= max(images // 2, 2, machine.devices) and batch <= 4096


def test_a_batch_of_a_gpu_follows_its_memory():
    small = GPU._replace(memory=6 * GIB)
    assert (
        chosen(10**6, small, 8)["train_batch_size"] * 4
        == (chosen(10**6, GPU, 8)["train_batch_size"])
    )
    wide = GPU._replace(bfloat16=False)
    assert (
        chosen(10**6, wide, 8)["train_batch_size"] * 2
        == (chosen(10**6, GPU, 8)["train_batch_size"])
    )


def test_other_channels_get_views_without_colours():
    found = choice.choose(Pictures(500, 64, 4), LAPTOP, 600).settings
    assert found["views"] == "crop(0.2,1) flip rot90" and "color_jitter_strength" not in found


@pytest.mark.parametrize("machine", [LAPTOP, GPU, GPUS])
@pytest.mark.parametrize("images", [5, 300, 3_000_000])
def test_what_is_chosen_can_be_built_and_is_listed(machine, images):
    for hours, channels in itertools.product((0.01, 1, 100), (3, 4)):
        found = choice.choose(Pictures(images, 500, channels), machine, 3600 * hours).settings
        found |= choice.around(70, 7)
        assert found.keys() <= set(choice.NAMES)
        by_name.build_config(RunConfig, {"model_dir": "runs/a", **found})


def test_steps_fill_the_time_up_to_a_thousand_epochs():
    found, why = choice.steps(100, 600, 0.5)
    assert found == 1200 and "10 min 00 s" in why and "12 passes" in why
    found, why = choice.steps(3, 36_000, 0.5)
    assert found == 3000 and "1000 passes" in why
    assert choice.steps(10**5, 10, 60)[0] == 1


def test_warm_up_and_checkpoints_follow_the_steps():
    assert choice.around(1200, 100) == {"warmup_epochs": 0.6, "checkpoint_steps": 120}
    assert choice.around(1, 10**5) == {"warmup_epochs": 1e-06, "checkpoint_steps": 1}


def table():
    """The table of docs/recipes.md: what is chosen for an hour."""
    machines = {"laptop, 2 cores, bfloat16": LAPTOP, "one GPU of 24 GiB": GPU,
                "eight GPUs of 80 GiB": GPUS}  # fmt: skip
    for name, machine in machines.items():
        for images in (300, 30_000, 3_000_000):
            found = chosen(images, machine, 1)
            network = f"ResNet-{found['resnet_depth']}, width {found['width_multiplier']:g}"
            rate = f"{found['learning_rate']:g} ({found['learning_rate_scaling']})"
            sizes = f"{found['image_size']} | {found['train_batch_size']}"
            crop = f"{found['crop_area_min']:g}"
            yield f"| {name} | {images:,} | {network} | {sizes} | {rate} | {crop} |"


def test_the_documented_table_is_what_is_chosen():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    for row in table():
        assert row in page
