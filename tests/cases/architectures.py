"""Tiny instances of common architectures, plain torch modules, to be exported as anybody would export them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Architecture(NamedTuple):
    """build: the module; shape: of one sample with its batch axis; needs_domain: no constant exists everywhere."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    needs_domain: bool = False


class Block(nn.Module):
    """A basic residual block with a projection."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(cin, cout, 3, stride, 1, bias=False),
            nn.BatchNorm2d(cout),
            nn.ReLU(),
            nn.Conv2d(cout, cout, 3, 1, 1, bias=False),
            nn.BatchNorm2d(cout),
        )
        self.skip = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x: Tensor) -> Any:
        return functional.relu(self.body(x) + self.skip(x))


def resnet() -> nn.Module:
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU(), Block(4, 4, 1), Block(4, 8, 2), *head)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Any:
        pooled = functional.adaptive_avg_pool2d(x, 1)
        return x * functional.hardsigmoid(self.expand(functional.relu(self.reduce(pooled))))


class InvertedResidual(nn.Module):
    def __init__(self, channels: int, squeeze: bool) -> None:
        super().__init__()
        wide = 2 * channels
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.Hardswish(),
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.Hardswish(),
            SqueezeExcite(wide) if squeeze else nn.Identity(),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Any:
        return x + self.body(x)


def mobilenet(squeeze: bool) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.ReLU6(),
        InvertedResidual(4, squeeze),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(4, 3),
    )


def vgg() -> nn.Module:
    features = (nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, 1, 1), nn.ReLU())
    head = (nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 3))
    return nn.Sequential(*features, *head)


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(3 + 2 * i) for i in range(3))
        self.layers = nn.ModuleList(nn.Conv2d(3 + 2 * i, 2, 3, 1, 1) for i in range(3))
        self.head = nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Any:
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = torch.cat([x, layer(functional.relu(norm(x)))], 1)
        x = functional.avg_pool2d(x, 2)
        return self.head(x.mean((2, 3)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle = nn.Conv2d(1, 4, 3, 1, 1), nn.Conv2d(4, 8, 3, 1, 1)
        self.up, self.out = nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(8, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Any:
        skip = functional.relu(self.down(x))
        deep = functional.relu(self.middle(functional.max_pool2d(skip, 2)))
        return torch.sigmoid(self.out(torch.cat([self.up(deep), skip], 1)))


class UpsampleNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.out = nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(4, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Any:
        deep = functional.leaky_relu(self.down(x))
        fine = functional.interpolate(deep, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(fine + functional.interpolate(deep, scale_factor=2.0, mode="nearest"))


class ViT(nn.Module):
    """Patches, a class token, positions, pre-LN encoder."""

    def __init__(self, norm_first: bool = True) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 8, 4, 4)
        self.token, self.position = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.1, "gelu", batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1) + self.position
        return self.head(self.encoder(tokens)[:, 0])


class Encoder(nn.Module):
    """Token vectors in, post-LN (as BERT) or pre-LN encoder layers."""

    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=norm_first)
        self.norm = nn.LayerNorm(8)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        return self.head(torch.tanh(self.encoder(self.norm(x))[:, 0]))


class Attention(nn.Module):
    """scaled_dot_product_attention behind a layer norm, causal, its heads by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Any:
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, n, 3, 2, d // 2).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.out(mixed.transpose(1, 2).reshape(b, n, d))


class MultiHead(nn.Module):
    """nn.MultiheadAttention of raw tokens: no norm bounds them, so a domain has to."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        mixed, _ = self.attention(x, x, x, need_weights=False)
        return x + mixed


class Recurrent(nn.Module):
    def __init__(self, cell: Callable[..., nn.Module], **options: bool) -> None:
        super().__init__()
        self.cells = cell(3, 4, batch_first=True, **options)
        self.head = nn.Linear(8 if options.get("bidirectional") else 4, 2)

    def forward(self, x: Tensor) -> Any:
        states, _ = self.cells(x)
        return self.head(states[:, -1])


class ConvNeXt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depth = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(4, 4, 3, 1, 1, groups=4)
        self.norm, self.wide, self.narrow = nn.LayerNorm(4, eps=1e-6), nn.Linear(4, 16), nn.Linear(16, 4)
        self.scale, self.head = nn.Parameter(torch.full((4,), 0.1)), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        y = self.norm(self.depth(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(functional.gelu(self.wide(y)))
        x = x + y.permute(0, 3, 1, 2)
        return self.head(functional.layer_norm(x.mean((-2, -1)), (4,)))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 6, 4, 4)
        self.norms = nn.ModuleList(nn.LayerNorm(6) for _ in range(3))
        self.tokens = nn.Sequential(nn.Linear(4, 8), nn.GELU(approximate="tanh"), nn.Linear(8, 4))
        self.channels = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norms[1](x))
        return self.head(self.norms[2](x).mean(1))


def group_norm() -> nn.Module:
    body = (nn.Conv2d(3, 4, 3, 1, 1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.InstanceNorm2d(4))
    return nn.Sequential(*body, nn.Mish(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def super_resolution() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, 1, 1), nn.PReLU(4), nn.Conv2d(4, 4, 3, 1, 1), nn.PixelShuffle(2))


def conv1d() -> nn.Module:
    body = (nn.Conv1d(2, 4, 5, 2, 4, dilation=2), nn.ELU(), nn.AvgPool1d(2), nn.Conv1d(4, 4, 3, padding=1), nn.SELU())
    return nn.Sequential(*body, nn.MaxPool1d(2), nn.Flatten(), nn.Linear(4 * 4, 2), nn.LogSoftmax(1))


def conv3d() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 2, 3, 1, 1), nn.BatchNorm3d(2), nn.Softsign(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(16, 2)
    )


def softplus3d() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 2, 3), nn.Softplus(), nn.Flatten(), nn.Linear(16, 2))


def autoencoder() -> nn.Module:
    down = (nn.ReflectionPad2d(1), nn.Conv2d(1, 4, 3, 2), nn.LeakyReLU(0.2))
    return nn.Sequential(*down, nn.ConvTranspose2d(4, 1, 3, 2, 1, output_padding=1), nn.Tanh())


class RmsGated(nn.Module):
    """RMS norm and a gated unit (SwiGLU), as in recent language models."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(6, eps=1e-5)
        self.gate, self.up, self.down = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Any:
        y = self.norm(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


ARCHITECTURES: dict[str, Architecture] = {
    "autoencoder": Architecture(autoencoder, (1, 1, 8, 8)),
    "bert": Architecture(lambda: Encoder(norm_first=False), (1, 4, 8)),
    "causal_attention": Architecture(Attention, (1, 4, 8)),
    "conv1d": Architecture(conv1d, (1, 2, 32)),
    "conv3d": Architecture(conv3d, (1, 1, 4, 4, 4)),
    "convnext": Architecture(ConvNeXt, (1, 3, 8, 8)),
    "densenet": Architecture(DenseNet, (1, 3, 4, 4)),
    "group_norm": Architecture(group_norm, (1, 3, 8, 8)),
    "gru": Architecture(lambda: Recurrent(nn.GRU), (1, 4, 3)),
    "lstm": Architecture(lambda: Recurrent(nn.LSTM, bidirectional=True), (1, 4, 3)),
    "mixer": Architecture(Mixer, (1, 1, 8, 8)),
    "mobilenet_v2": Architecture(lambda: mobilenet(False), (1, 3, 8, 8)),
    "mobilenet_v3": Architecture(lambda: mobilenet(True), (1, 3, 8, 8)),
    "multihead": Architecture(MultiHead, (1, 4, 8), needs_domain=True),
    "pre_ln_encoder": Architecture(lambda: Encoder(norm_first=True), (1, 4, 8)),
    "resnet": Architecture(resnet, (1, 3, 8, 8)),
    "rms_gated": Architecture(RmsGated, (1, 3, 6)),
    "softplus3d": Architecture(softplus3d, (1, 1, 4, 4, 4)),
    "super_resolution": Architecture(super_resolution, (1, 1, 4, 4)),
    "unet": Architecture(UNet, (1, 1, 8, 8)),
    "upsample": Architecture(UpsampleNet, (1, 1, 8, 8)),
    "vgg": Architecture(vgg, (1, 3, 8, 8)),
    "vit": Architecture(ViT, (1, 1, 8, 8)),
    "vit_post_ln": Architecture(lambda: ViT(norm_first=False), (1, 1, 8, 8), needs_domain=True),
}
