"""Settings of the augmentations; like `simclr_tf.config`, without TensorFlow.

Section numbers refer to the paper, arXiv 2002.05709v3.
"""

from __future__ import annotations

import dataclasses

from simclr_tf.errors import require, require_choice
from simclr_tf.settings import operations
from simclr_tf.settings.checks import POSITIVE_SHARE, Range, check_settings, limited
from simclr_tf.settings.operations import BRIGHTNESS_MODES
from simclr_tf.settings.view_text import Views, parse_views

AUGMENT_PLACES = ("auto", "host", "device")
POLICIES = ("simclr", "one_branch", "autoaugment")
# The transformations of Fig. 5 in its order, and those that only the broader policy has (B.2).
COMPOSED_TRANSFORMS = ("crop", "cutout", "color", "sobel", "noise", "blur", "rotate")
BROADER_TRANSFORMS = ("sobel", "equalize", "solarize", "motion_blur")
TRANSFORMS = tuple(dict.fromkeys(COMPOSED_TRANSFORMS + BROADER_TRANSFORMS))


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How the views of a training image are made: the paper's policy, or what it studies.

    Example:
        >>> simclr_tf.AugmentConfig(color_jitter_strength=0.5, use_blur=False).crop_area_min
        0.08

    Attributes:
        augmentation: `simclr` is the paper's policy (Appendix A): crop, flip, colour distortion,
            blur. `one_branch` is the asymmetric setting of Fig. 5, with `train_mode=pretrain`: one
            random crop of the image serves both views, and only the first of them goes through
            `transforms`. `autoaugment` is crop, flip and AutoAugment's policy (Table 1).
        transforms: Names of `TRANSFORMS` with commas. With `one_branch` those of the first view, in
            this order; with `simclr` each is added to every view with probability 0.2 (B.2).
        views: Operations of your own instead, in their order, as `crop(0.2,1) flip rot90`; two
            lists with `|` between them make the two views in different ways, see
            `simclr_tf.settings.view_text`. Of the other settings only `augment_on` counts beside
            it, and `crop_area_min` in fine-tuning, which only crops and flips. Where it says the
            paper's policy, it is computed as that.
        crop_area_min: Smallest share of the image area that a crop may have, in (0, 1].
        color_jitter_strength: The paper's s; 0 switches colour distortion off altogether.
        use_blur: Gaussian blur with probability 0.5 (the paper has none for CIFAR-10).
        brightness: `multiplicative` as in the released TF2 code, `additive` as in Appendix A.
        augment_on: Where colours are distorted and views blurred: `host` (input pipeline) or
            `device` (training step). `auto` is `device` on GPUs and TPUs. Cropping is the host's,
            and so is everything but the paper's policy.
    """

    augmentation: str = "simclr"
    transforms: str = ""
    views: str = ""
    crop_area_min: float = limited(0.08, POSITIVE_SHARE)
    # the paper's s: 0 to 1; hues are through at 2.5
    color_jitter_strength: float = limited(1.0, Range(0, 10))
    use_blur: bool = True
    brightness: str = "multiplicative"
    augment_on: str = "auto"

    def __post_init__(self) -> None:
        check_settings(self)
        for name, choices in (("augmentation", POLICIES), ("brightness", BRIGHTNESS_MODES),
                              ("augment_on", AUGMENT_PLACES)):  # fmt: skip
            require_choice(name, getattr(self, name), choices)
        for name in self.transform_names:
            require_choice("transforms", name, TRANSFORMS)
        once = len(set(self.transform_names)) == len(self.transform_names)
        require(once and bool(self.transform_names) >= bool(self.transforms), "transforms",
                "must name transformations, each once, or be empty", self.transforms)  # fmt: skip
        require(self.augmentation != "autoaugment" or not self.transforms, "transforms",
                "must be empty with augmentation=autoaugment", self.transforms)  # fmt: skip
        chosen = self.augmentation != "simclr" or bool(self.transforms)
        require(not (self.views and chosen), "views",
                "must be empty with augmentation or transforms", self.views)  # fmt: skip
        require(self.is_plain or self.augment_on != "device", "augment_on",
                "must be host or auto unless the paper's policy is used without transforms",
                self.augment_on)  # fmt: skip

    @property
    def transform_names(self) -> tuple[str, ...]:
        """`transforms` as a tuple."""
        return tuple(part.strip() for part in self.transforms.split(",") if part.strip())

    @property
    def is_plain(self) -> bool:
        """Whether it is the paper's policy and nothing else."""
        own = self.own_views
        if own is not None:
            return as_policy(own) is not None
        return self.augmentation == "simclr" and not self.transform_names

    @property
    def own_views(self) -> Views | None:
        """What `views` says, its functions not imported; None where it is empty."""
        return parse_views(self.views, load=False) if self.views else None


def as_policy(views: Views) -> AugmentConfig | None:
    """The settings of the paper's policy that views equal, None where they are others.

    Example:
        `as_policy(Views(views.paper(0.5, blur=False)))` has `color_jitter_strength=0.5`

    Args:
        views: Any views; those of two lists that differ are no policy.
    """
    first, *others = views.lists
    found = {type(one): one for one in first}
    crop, color = found.get(operations.crop), found.get(operations.color)
    if others or not isinstance(crop, operations.crop) or crop.area[1] != 1:
        return None
    strength, brightness = 0.0, BRIGHTNESS_MODES[0]
    if isinstance(color, operations.color):
        strength, brightness = color.strength, color.brightness
    blurs = operations.blur in found
    if list(first) != operations.paper(strength, blurs, crop.area, brightness):
        return None
    return AugmentConfig(crop_area_min=crop.area[0], color_jitter_strength=strength,
                         use_blur=blurs, brightness=brightness)  # fmt: skip
