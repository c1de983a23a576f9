"""The training step in PyTorch: `PYTHON -m benchmarks.speed.torch_step SETTINGS`, see `protocol`.

ResNet-18 with the CIFAR stem, or torchvision's ResNets with theirs, projection head and linear head
as in the other sides, NT-Xent, SGD with momentum (PyTorch has no LARS), channels last, and autocast
for bfloat16.
"""

from __future__ import annotations

import json
import sys

import torch
from torch import nn
from torch.nn import functional

from benchmarks.speed import protocol, timing

NUM_CLASSES = 10


class Block(nn.Module):
    """A residual block of two 3x3 convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm_1 = nn.BatchNorm2d(outputs)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm_2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        hidden = functional.relu(self.norm_1(self.conv_1(images)), inplace=True)
        hidden = self.norm_2(self.conv_2(hidden))
        return functional.relu(hidden + self.shortcut(images), inplace=True)


def small_resnet_18() -> nn.Module:
    """Images (N, 3, H, W) of few pixels to (N, 512)."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
    ]  # fmt: skip
    channels = 64
    for group in range(4):
        for block in range(2):
            stride = 2 if group and not block else 1
            layers.append(Block(channels, 64 * 2**group, stride))
            channels = 64 * 2**group
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def resnet(depth: int) -> nn.Module:
    """torchvision's: images (N, 3, H, W) to (N, C)."""
    import torchvision

    network = getattr(torchvision.models, f"resnet{depth}")()
    network.fc = nn.Identity()
    return network


class Network(nn.Module):
    """Encoder, projection head and, behind a stop-gradient, a linear head."""

    def __init__(self, depth: int, image_size: int) -> None:
        super().__init__()
        small = depth == 18 and image_size <= 32
        self.encoder = small_resnet_18() if small else resnet(depth)
        width = 512 if depth < 50 else 2048
        head: list[nn.Module] = []
        for _ in range(2):
            head += [nn.Linear(width, width, bias=False), nn.BatchNorm1d(width),
                     nn.ReLU(inplace=True)]  # fmt: skip
        head += [nn.Linear(width, 128, bias=False), nn.BatchNorm1d(128)]
        self.projection = nn.Sequential(*head)
        self.linear = nn.Linear(width, NUM_CLASSES)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Projections (N, 128) and logits (N, classes)."""
        features = self.encoder(images)
        return self.projection(features), self.linear(features.detach())


def nt_xent(projected: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    """The contrastive loss of both views stacked, (2B, D)."""
    hidden = functional.normalize(projected.float())
    similarities = hidden @ hidden.T / temperature  # (2B, 2B)
    similarities.fill_diagonal_(float("-inf"))
    count = len(hidden)
    positives = torch.arange(count).roll(count // 2)
    return 2 * functional.cross_entropy(similarities, positives)


def _lightly_loss():
    """NT-Xent of both views stacked, by lightly."""
    from lightly.loss import NTXentLoss

    loss = NTXentLoss(temperature=0.1)
    return lambda projected: 2 * loss(*projected.float().chunk(2))


def stepper(depth: int, image_size: int, pairs: int, precision: str, device: str, loss):
    """Takes a number of steps on the same batch, and waits for them."""
    torch.manual_seed(0)
    network = Network(depth, image_size).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, foreach=True)
    images = torch.rand(2 * pairs, 3, image_size, image_size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(2 * pairs, dtype=torch.long, device=device)

    def take(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                projected, logits = network(images)
            total = loss(projected) + functional.cross_entropy(logits.float(), labels)
            total.backward()
            optimizer.step()
        total.item()  # waits for the steps

    return take


def step(*, image_size: int, pairs: int, precision: str, steps: int, samples: int):
    """Pairs per second on the CPU; prepares and returns what measures a round."""
    take = stepper(18, image_size, pairs, precision, "cpu", nt_xent)
    return timing.step_rates(take, steps, pairs, samples)


def largest_step(
    *, depth: int, image_size: int, batches: list[int], precision: str, device: str, steps: int,
    samples: int,
):  # fmt: skip
    """The same with lightly's loss and the largest batch that fits, and which that is."""
    torch.backends.cudnn.benchmark = True  # the fastest algorithm of each convolution

    def make_stepper(pairs: int):
        return stepper(depth, image_size, pairs, precision, device, _lightly_loss())

    return timing.largest(make_stepper, batches, steps, samples, torch.OutOfMemoryError)


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    protocol.serve(lambda: (largest_step if "batches" in settings else step)(**settings))
