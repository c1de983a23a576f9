"""From an encoded image to its views, and from batches of those to what the network sees.

What is done per image and what per batch is a matter of speed alone: small images are distorted a
batch at a time, in one compiled program, since starting an operation takes longer than computing
it; large ones image by image, while they are in the processor's cache.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, TypeVar

import tensorflow as tf

from simclr_tf.augment import composed, crop, distortion, images, operations, policy
from simclr_tf.augment import seeds as random
from simclr_tf.data import reduced
from simclr_tf.data.decode import decode_image, decode_stored, to_byte_range
from simclr_tf.data.reading import FILES, Reading
from simclr_tf.errors import require
from simclr_tf.settings.augment import AugmentConfig, as_policy
from simclr_tf.settings.view_text import Views

TrainView: TypeAlias = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (image uint8, seed) -> view
Example: TypeAlias = dict[str, tf.Tensor]
T = TypeVar("T")

LARGEST_SMALL = 64  # px
# uint8 would change a view by up to half a level before its contrast is raised; this does not.
DEVICE_DTYPE = tf.float16


class ViewMaker(Protocol):
    """Makes the views of images in two steps; both run in graphs of tf.data.

    Attributes:
        count: Views per image.
    """

    @property
    def count(self) -> int: ...  # noqa: D102

    @property
    def takes_batches(self) -> bool:
        """Whether `of_image` only passes pixels on, as `image`, with their `seeds`."""
        ...

    def of_shape(
        self,
        image_shape: tuple[int, int] | None,
        reading: Reading | None = None,
        channels: int = 3,
    ) -> ViewMaker:
        """For images of a source: of this height and width as TFDS stores them, else None.

        Raises:
            InputError: Its views need another number of channels.
        """
        ...

    def of_image(self, encoded: tf.Tensor, seeds: tf.Tensor) -> Example:
        """From an encoded image (string scalar) and one seed per view, int64 (count, 2)."""
        ...

    def of_batch(self, batch: Example) -> Example:
        """From a batch of what `of_image` gives, and of other entries, which it passes on."""
        ...


@dataclasses.dataclass(frozen=True)
class ImageViews:
    """Views that a function makes of one image at a time.

    Attributes:
        count: Views V per image.
        function: From an image, uint8 (H, W, 3), and seeds, int64 (V, 2), to V views of fixed size.
            Of arrays with channels of their own the image is (H, W, C), uint8 or float32 in [0, 1].
    """

    count: int
    function: Callable[[tf.Tensor, tf.Tensor], Sequence[tf.Tensor]]
    takes_batches: bool = False
    reading: Reading = FILES

    def of_shape(
        self,
        image_shape: tuple[int, int] | None,
        reading: Reading | None = None,
        channels: int = 3,
    ) -> ImageViews:
        """The same, for files that are read in this way."""
        return self if reading is None else dataclasses.replace(self, reading=reading)

    def of_image(self, encoded: tf.Tensor, seeds: tf.Tensor) -> Example:
        """`view_0`, `view_1`, ... as the function returns them."""
        made = self.function(
            decode_image(encoded, self.reading), tf.ensure_shape(seeds, (self.count, 2))
        )
        return {f"view_{i}": view for i, view in enumerate(made)}

    def of_batch(self, batch: Example) -> Example:
        """The batch itself."""
        return batch


@dataclasses.dataclass(frozen=True)
class ViewRecipe:
    """Which views are made of an image.

    Attributes:
        augment: The policy; `augment_on` says where it is computed.
        image_size: Side of a view in pixels.
        count: Views per image.
        distorted: Whether views are more than crops and flips.
        views: The user's own, in the place of those of `augment`, where `distorted`. None: what
            `augment.views` says, if it says something.
    """

    augment: AugmentConfig
    image_size: int
    count: int = 1
    distorted: bool = False
    views: Views | None = None

    @property
    def own_views(self) -> Views | None:
        """The user's own views, None where they are the paper's policy or that of `augment`."""
        if not self.distorted:
            return None
        chosen = self.augment.own_views if self.views is None else self.views
        if chosen is not None and self.count == 1:
            chosen = Views(chosen.of_view(0))
        return None if chosen is None or as_policy(chosen) is not None else chosen

    @property
    def policy(self) -> AugmentConfig:
        """`augment`, or the paper's policy that the user's own views equal."""
        chosen = self.augment.own_views if self.views is None else self.views
        if chosen is None or not self.distorted:
            return self.augment
        found = as_policy(Views(chosen.of_view(0)))
        return self.augment if found is None else dataclasses.replace(
            found, augment_on=self.augment.augment_on
        )  # fmt: skip

    def of_image(self) -> composed.ViewsOfImage:
        """The function from an image and its seeds, (V, 2), to its views."""
        own = self.own_views
        if own is not None:
            return operations.views_of_image(own, self.image_size)
        return composed.views_of_image(self.image_size, self.policy, self.distorted)

    def check(self, channels: int = 3) -> None:
        """Traces the user's own views once.

        Args:
            channels: Of the images.

        Raises:
            InputError: A function can't be imported or used, or an operation needs other channels.
        """
        self.maker(compiled=False).of_shape(None, None, channels)
        if self.own_views is not None:
            image = tf.TensorSpec((None, None, channels), tf.float32)
            tf.function(self.of_image(), autograph=False).get_concrete_function(
                image, tf.TensorSpec((self.count, 2), tf.int64)
            )

    def maker(self, compiled: bool = True) -> ViewMaker:
        """Makes the views of `of_image`, those of the paper's policy faster.

        Args:
            compiled: Whether XLA may be used.
        """
        policy = self.policy
        if self.own_views is not None or (self.distorted and not policy.is_plain):
            return ImageViews(self.count, self.of_image())
        return PolicyViews(
            self.count,
            self.image_size,
            policy,
            distorted=self.distorted,
            on_device=self.distorted and policy.augment_on == "device",
            compiled=compiled,
        )


def function_views(functions: Sequence[TrainView]) -> ImageViews:
    """One view per function, each from the image and a seed of its own, int64 (2,)."""
    return ImageViews(
        len(functions),
        lambda image, seeds: [one(image, seeds[i]) for i, one in enumerate(functions)],
    )


@dataclasses.dataclass(frozen=True)
class PolicyViews:
    """The views of `policy.pretrain_view` or `policy.finetune_view`, made faster.

    They are the same for the same seeds, up to rounding. Images have any number of channels where
    views are no more than crops and flips, else three.

    Attributes:
        count: Views per image.
        image_size: Side S of a view in pixels.
        augment: Strengths of the policy; `augment_on` is not read.
        distorted: Whether colours are distorted and views blurred, as in pretraining.
        on_device: Leave the distortion to the accelerator: the views are cropped and flipped,
            `DEVICE_DTYPE`, and beside each lies what `distortion.input_view` needs, (B, P).
        compiled: Whether XLA may be used.
        image_shape: See `of_shape`.
        reading: See `of_shape`.
        channels: See `of_shape`.
    """

    count: int
    image_size: int
    augment: AugmentConfig
    distorted: bool = True
    on_device: bool = False
    compiled: bool = True
    image_shape: tuple[int, int] | None = None
    reading: Reading = FILES
    channels: int = 3

    def of_shape(
        self,
        image_shape: tuple[int, int] | None,
        reading: Reading | None = None,
        channels: int = 3,
    ) -> ViewMaker:
        """With this shape; small images of one shape are cropped a batch at a time."""
        colors = self.distorted and self.augment.color_jitter_strength > 0
        if channels != 3 and self._changes and not colors:  # blur alone has no faster way there
            function = composed.views_of_image(self.image_size, self.augment, self.distorted)
            return ImageViews(self.count, function).of_shape(image_shape, reading, channels)
        require(channels == 3 or not colors, "views", "must be named without color "
                f"distortion, which needs 3 channels, for images of {channels}",
                f"color_jitter_strength={self.augment.color_jitter_strength:g}, "
                f"use_blur={self.augment.use_blur}")  # fmt: skip
        return dataclasses.replace(
            self, image_shape=image_shape, reading=reading or self.reading, channels=channels
        )

    @property
    def _small(self) -> bool:
        """Whether the pixels are left to `of_batch`."""
        return self.image_size <= LARGEST_SMALL

    @property
    def takes_batches(self) -> bool:
        """Whether `of_image` passes pixels on."""
        return self._crops_batches

    @property
    def _crops_batches(self) -> bool:
        """Whether cropping too is left to `of_batch`."""
        return self._small and max(self.image_shape or (LARGEST_SMALL + 1,)) <= LARGEST_SMALL

    @property
    def _changes(self) -> bool:
        """Whether views are distorted, here or on the device."""
        return self.distorted and (self.augment.color_jitter_strength > 0 or self.augment.use_blur)

    def of_image(self, encoded: tf.Tensor, seeds: tf.Tensor) -> Example:
        """Large images: the views. Small ones: what `of_batch` needs."""
        if self._crops_batches:
            shape = (*(self.image_shape or ()), self.channels)
            image = tf.ensure_shape(decode_stored(encoded, self.reading), shape)
            return {"image": image, "seeds": seeds}
        each = [random.numbers(seed, sum(self._counts)) for seed in tf.unstack(seeds, self.count)]
        numbers = tf.stack(each)  # (V, D)
        for_crop, (flip,), *_ = policy.deal(numbers, self._counts)  # (V,) each
        crops = self._crops(encoded, for_crop, flip < crop.FLIP_PROBABILITY)
        views = {f"view_{i}": view for i, view in enumerate(crops)}
        if self._small:
            return {**views, "seeds": seeds}
        views = {name: _to_unit_range(view) for name, view in views.items()}
        if not self._changes:
            return views
        amounts = tf.unstack(self._amounts(numbers), num=self.count)  # (P,) each
        if self.on_device:
            views = {name: tf.cast(view, DEVICE_DTYPE) for name, view in views.items()}
            return views | {f"distortion_{i}": one for i, one in enumerate(amounts)}
        return {
            name: distortion.distort_image(view, one, self._compiles)
            for (name, view), one in zip(views.items(), amounts, strict=True)
        }

    def of_batch(self, batch: Example) -> Example:
        """Small images: the views."""
        if not self._small:
            return batch
        names = [f"view_{i}" for i in range(self.count)]
        rest = dict(batch)
        seeds = tf.concat(tf.unstack(rest.pop("seeds"), axis=1), 0)  # (V B, 2)
        if self._crops_batches:
            pixels = rest.pop("image")  # (B, H, W, C)
        else:
            pixels = tf.concat([rest.pop(name) for name in names], 0)  # (V B, S, S, C)
        made = (_compiled(self._make) if self._compiles else self._make)(pixels, seeds)
        return rest | {
            f"{name}_{i}": part
            for name, all_views in made.items()
            for i, part in enumerate(tf.split(all_views, self.count))
        }

    @property
    def _compiles(self) -> bool:
        return self.compiled and compiles()

    @property
    def _counts(self) -> tuple[int, ...]:
        return policy.PRETRAIN_DRAWS if self.distorted else policy.FINETUNE_DRAWS

    def _amounts(self, numbers: tf.Tensor) -> tf.Tensor:
        """From the random numbers (..., D) of views to their distortions (..., P)."""
        *_, for_color, for_blur = policy.deal(numbers, self._counts)
        strength, brightness = self.augment.color_jitter_strength, self.augment.brightness
        blurs = for_blur if self.augment.use_blur else None
        return distortion.draw(for_color, blurs, strength, brightness)

    def _boxes(
        self, lengths: tf.Tensor, for_crop: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return crop.draw_boxes(lengths, for_crop, (self.augment.crop_area_min, 1.0))

    def _crops(
        self, encoded: tf.Tensor, for_crop: Sequence[tf.Tensor], flips: tf.Tensor
    ) -> list[tf.Tensor]:
        """The resized crops, float32 (S, S, C) around [0, 255], mirrored where `flips` (V,)."""
        piece = reduced.decode_piece(
            encoded, lambda at: self._boxes(at, for_crop), self.image_size, self.reading
        )
        views = []
        for i in range(self.count):
            view = reduced.resize_box(piece, i, self.image_size, self.reading)
            mirrored = tf.raw_ops.Reverse(tensor=view, dims=tf.stack([False, flips[i], False]))
            shape = (self.image_size, self.image_size, self.channels)
            views.append(tf.ensure_shape(mirrored, shape))
        return views

    def _make(self, pixels: tf.Tensor, seeds: tf.Tensor) -> Example:
        """From images (B, H, W, C) or, where these are cropped already, from crops to views."""
        numbers = random.numbers(seeds, sum(self._counts))  # (V B, D)
        views = self._crop_batch(pixels, numbers) if self._crops_batches else pixels
        return self._distort(views, numbers)

    def _crop_batch(self, batch: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """From images (B, H, W, C) to crops as `_crops` makes them, (V B, S, S, C)."""
        for_crop, (flip,), *_ = policy.deal(numbers, self._counts)  # (V B,) each
        corners, sides = self._boxes(images.lengths(batch), for_crop)  # (V B, 2) each
        batch = to_byte_range(batch)
        parts = zip(tf.split(corners, self.count), tf.split(sides, self.count), strict=True)
        views = tf.concat(
            [crop.resized_boxes(batch, at, by, self.image_size) for at, by in parts], 0
        )  # (V B, S, S, C)
        flips = (flip < crop.FLIP_PROBABILITY)[:, None, None, None]
        return tf.where(flips, tf.reverse(views, [2]), views)

    def _distort(self, views: tf.Tensor, numbers: tf.Tensor) -> Example:
        """From crops (V B, S, S, C) around [0, 255] to views."""
        if not self._changes:
            return {"view": _to_unit_range(views)}
        amounts = self._amounts(numbers)
        if self.on_device:
            return {"view": tf.cast(_to_unit_range(views), DEVICE_DTYPE), "distortion": amounts}

        def one(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            return distortion.distort_image(_to_unit_range(pair[0]), pair[1])

        spec = tf.TensorSpec(views.shape[1:], tf.float32)
        return {"view": tf.map_fn(one, (views, amounts), fn_output_signature=spec)}


@functools.cache
def compiles() -> bool:
    """Whether XLA can compile for this machine's processors."""
    try:
        with tf.device("CPU:0"):
            tf.function(lambda x: x + 1, jit_compile=True, autograph=False)(tf.zeros([]))
    except tf.errors.OpError:
        return False
    return True


def _compiled(function: Callable[..., T]) -> Callable[..., T]:
    return tf.function(function, jit_compile=True, autograph=False)


def _to_unit_range(views: tf.Tensor) -> tf.Tensor:
    return images.clip(views * (1 / 255))
