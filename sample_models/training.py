"""The data splits, and one training loop for all of the networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import (  # type: ignore[import-untyped, unused-ignore]
    load_diabetes,
    load_digits,
)
from sklearn.model_selection import (  # type: ignore[import-untyped, unused-ignore]
    train_test_split,
)
from torch import Tensor, nn

SPLIT_SEED = 0
BATCH = 64

Loss = Callable[[Tensor, Tensor], Tensor]
InputForm = Literal["raw", "unit", "image"]


@dataclass(frozen=True)
class Split:
    """A data set cut in two. Inputs are already in the units that the model takes."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


@dataclass(frozen=True)
class Recipe:
    """What training needs to know besides the model and the data."""

    loss: Loss
    epochs: int
    learning_rate: float
    weight_decay: float = 0.0


def digits_split(form: InputForm) -> Split:
    """Cut the 8x8 digits 3:1 with the classes in proportion.

    `raw` keeps pixel counts 0..16, `unit` divides by 16, `image` also adds a channel axis.
    """
    pixels, labels = load_digits(return_X_y=True)
    x = np.asarray(pixels, dtype=np.float32)
    if form != "raw":
        x = x / np.float32(16)
    if form == "image":
        x = x.reshape(-1, 1, 8, 8)
    return _cut(x, np.asarray(labels, dtype=np.int64), stratify=True)


def diabetes_split() -> Split:
    """Cut the diabetes data 3:1, inputs and target standardised by the training part alone."""
    features, target = load_diabetes(return_X_y=True)
    y = np.asarray(target).reshape(-1, 1)
    split = _cut(np.asarray(features), y, stratify=False)
    x_train, x_test = _standardised(split.x_train, split.x_test)
    y_train, y_test = _standardised(split.y_train, split.y_test)
    return Split(x_train, y_train, x_test, y_test)


def fit(model: nn.Module, split: Split, recipe: Recipe, seed: int) -> None:
    """Train in place with Adam and one learning-rate cycle; nothing looks at the test part."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    batches_per_epoch = -(-len(split.x_train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.epochs * batches_per_epoch
    )
    model.train()
    for _ in range(recipe.epochs):
        for rows in torch.split(torch.randperm(len(split.x_train), generator=generator), BATCH):
            optimizer.zero_grad()
            loss = recipe.loss(model(split.x_train[rows]), split.y_train[rows])
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    model.eval()


def _cut(x: NDArray[np.generic], y: NDArray[np.generic], *, stratify: bool) -> Split:
    """Split off a quarter for testing; the same rows for every model on the same data."""
    parts = train_test_split(x, y, test_size=0.25, random_state=SPLIT_SEED, stratify=y if stratify else None)
    x_train, x_test, y_train, y_test = (torch.from_numpy(np.ascontiguousarray(p)) for p in parts)
    return Split(x_train, y_train, x_test, y_test)


def _standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and scale both by the mean and the standard deviation of the first."""
    mean, deviation = train.mean(dim=0), train.std(dim=0, correction=0)
    return ((train - mean) / deviation).float(), ((test - mean) / deviation).float()
