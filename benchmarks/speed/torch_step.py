"""The training step in PyTorch: `PYTHON -m benchmarks.speed.torch_step SETTINGS`, see `protocol`.

ResNet-18 with the CIFAR stem, projection head and linear head as in the other sides, NT-Xent, SGD
with momentum (PyTorch has no LARS), channels last, and autocast for bfloat16.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional

from benchmarks.speed import protocol

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


class Network(nn.Module):
    """Encoder, projection head and, behind a stop-gradient, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
        ]  # fmt: skip
        channels = 64
        for group in range(4):
            for block in range(2):
                stride = 2 if group and not block else 1
                layers.append(Block(channels, 64 * 2**group, stride))
                channels = 64 * 2**group
        self.encoder = nn.Sequential(*layers)
        head: list[nn.Module] = []
        for _ in range(2):
            head += [nn.Linear(512, 512, bias=False), nn.BatchNorm1d(512), nn.ReLU(inplace=True)]
        head += [nn.Linear(512, 128, bias=False), nn.BatchNorm1d(128)]
        self.projection = nn.Sequential(*head)
        self.linear = nn.Linear(512, NUM_CLASSES)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Projections (N, 128) and logits (N, classes)."""
        features = self.encoder(images).mean((2, 3))
        return self.projection(features), self.linear(features.detach())


def nt_xent(projected: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    """The contrastive loss of both views stacked, (2B, D)."""
    hidden = functional.normalize(projected.float())
    similarities = hidden @ hidden.T / temperature  # (2B, 2B)
    similarities.fill_diagonal_(float("-inf"))
    count = len(hidden)
    positives = torch.arange(count).roll(count // 2)
    return 2 * functional.cross_entropy(similarities, positives)


def step(*, image_size: int, pairs: int, precision: str, steps: int, samples: int):
    """Prepares; returns what measures the pairs per second of a round."""
    torch.manual_seed(0)
    network = Network().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, foreach=True)
    images = torch.rand(2 * pairs, 3, image_size, image_size)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(2 * pairs, dtype=torch.long)

    def take(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                projected, logits = network(images)
            loss = nt_xent(projected) + functional.cross_entropy(logits.float(), labels)
            loss.backward()
            optimizer.step()

    def measure() -> dict[str, list[float]]:
        rates = []
        for _ in range(samples):
            started = time.perf_counter()
            take(steps)
            rates.append(steps * pairs / (time.perf_counter() - started))
        return {"pairs/s": rates}

    take(2)
    return measure


if __name__ == "__main__":
    protocol.serve(lambda: step(**json.loads(sys.argv[1])))
