"""The six networks. Plain torch modules, so that the exported graphs look like anybody's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

PIXEL_MAX = 16.0
CLASSES = 10


class DigitsMLP(nn.Module):
    """ReLU MLP on raw pixel counts: the scaling is part of the graph, as in a shipped model."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Scale 0..16 to 0..1, then classify."""
        logits: Tensor = self.layers(x / PIXEL_MAX)
        return logits


class DigitsCNN(nn.Module):
    """Small CNN with each common piece once: BatchNorm, a strided conv, both kinds of pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_conv_bn_relu(1, 8),  # 8x8
            *_conv_bn_relu(8, 16, stride=2),  # 4x4
            nn.AvgPool2d(2),  # 2x2
            *_conv_bn_relu(16, 32),
            nn.MaxPool2d(2),  # 1x1
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Classify images of shape [N, 1, 8, 8] in 0..1."""
        logits: Tensor = self.head(self.features(x))
        return logits


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; a 1x1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_conv_bn_relu(channels_in, channels, stride=stride),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the post-activation block of He et al. (2016)."""
        return torch.relu(self.body(x) + self.shortcut(x))


class DigitsResNet(nn.Module):
    """Residual CNN: a stem, three blocks (the second one downsamples), a global average, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv_bn_relu(1, 12))
        self.blocks = nn.Sequential(ResidualBlock(12, 12), ResidualBlock(12, 24, stride=2), ResidualBlock(24, 24))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images of shape [N, 1, 8, 8] in 0..1."""
        logits: Tensor = self.head(self.pool(self.blocks(self.stem(x))))
        return logits


class MaxMin(nn.Module):
    """GroupSort with groups of two: it permutes features, so its Jacobian is orthogonal."""

    def forward(self, x: Tensor) -> Tensor:
        """Pair feature i with feature i + half, and put the larger ones first."""
        a, b = torch.chunk(x, 2, dim=1)
        return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], dim=1)


class DigitsLipschitz(nn.Module):
    """1-Lipschitz in l2 by construction, and tightly so: square orthogonal layers lose nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(64, 64), MaxMin()),
            *(nn.Linear(64, 64), MaxMin()),
            *(nn.Linear(64, 64), MaxMin()),
            nn.Linear(64, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Score digits of shape [N, 64] in 0..1; the last layer has orthonormal rows."""
        scores: Tensor = self.layers(x)
        return scores


class DiabetesTanh(nn.Module):
    """Small tanh regressor on standardised measurements."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Predict the standardised disease progression, shape [N, 1]."""
        prediction: Tensor = self.layers(x)
        return prediction


class DigitsGELU(nn.Module):
    """MLP with a GELU and a SiLU layer: slopes of both pass one and also go below zero."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Classify digits of shape [N, 64] in 0..1."""
        logits: Tensor = self.layers(x)
        return logits


def orthogonal_for_training() -> nn.Module:
    """Put every weight of a DigitsLipschitz under torch's orthogonal parametrisation."""
    model = DigitsLipschitz()
    for layer in model.layers:
        if isinstance(layer, nn.Linear):
            parametrizations.orthogonal(layer, orthogonal_map="cayley")
    return model


def bake_orthogonal(trained: nn.Module) -> DigitsLipschitz:
    """Copy into plain layers, with each weight replaced by its polar factor taken in float64.

    The parametrisation holds only to float32 accuracy; after this, the one rounding left is that of
    the final cast.
    """
    if not isinstance(trained, DigitsLipschitz):
        raise TypeError(f"expected DigitsLipschitz, got {type(trained).__name__}")
    baked = DigitsLipschitz()
    for source, target in zip(trained.layers, baked.layers, strict=True):
        if isinstance(source, nn.Linear) and isinstance(target, nn.Linear):
            u, _, vh = torch.linalg.svd(source.weight.detach().double(), full_matrices=False)
            target.weight.data.copy_(u @ vh)
            target.bias.data.copy_(source.bias.detach())
    return baked


def _conv_bn_relu(channels_in: int, channels: int, stride: int = 1) -> list[nn.Module]:
    """Return the usual triple; the convolution has no bias because BatchNorm brings one."""
    return [
        nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    ]
