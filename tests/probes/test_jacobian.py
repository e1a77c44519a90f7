"""Laws of `lipaudit.probes.jacobian`, on functions whose Jacobian a dense oracle can afford."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lipaudit.errors import InvalidInput
from lipaudit.numerics.norms import Norm
from lipaudit.probes import jacobian
from lipaudit.probes.jacobian import JacobianNorms, jacobian_norms
from lipaudit.probes.products import Function

Compute = Callable[..., JacobianNorms]
functional = nn.functional


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Case(NamedTuple):
    name: str
    fn: Function
    x: torch.Tensor

    def __str__(self) -> str:
        return self.name


def _points(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _net(*layers: nn.Module) -> nn.Module:
    net = nn.Sequential(*layers).double().requires_grad_(False)
    for i, p in enumerate(net.parameters()):
        p.copy_(_points(*p.shape, seed=i) / max(1, p[0].numel()) ** 0.5)
    return net


def _linear(values: list[float], m: int, n: int) -> Function:
    """x -> U diag(values) V^T x for random orthogonal U, V."""
    u, v = (torch.linalg.qr(_points(k, len(values), seed=k)).Q for k in (m, n))
    matrix = u @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ v.T
    return lambda x: x @ matrix.T


def _every_batched_op(x: torch.Tensor) -> torch.Tensor:
    """A function of the ops whose cotangents the library batches."""
    y = functional.linear(x.view(-1, 2, 3).permute(0, 2, 1).flatten(1), _points(4, 6), _points(4))
    y = y.relu() + y.sigmoid() * y.sin() - y.cos().abs() / y.exp().clamp(min=0.1)
    y = torch.where(y > 0, functional.elu(-y), functional.leaky_relu(y)).unsqueeze(1).squeeze(1)
    y = functional.threshold(y, -9.0, 0.0).clone().transpose(0, 1).T @ _points(4, 5)
    return y[:, 1:4] + y[:, 0:1].expand(-1, 3) + torch.maximum(y[:, 4:], y.sum(1, keepdim=True))


MLP = _net(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 7))
CASES = [
    Case("relu mlp", MLP, _points(5, 12)),
    Case("m > n", _net(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 15)), _points(4, 6)),
    Case("tanh", _net(nn.Linear(9, 11), nn.Tanh(), nn.Linear(11, 9), nn.Tanh()), _points(4, 9)),
    Case(
        "convnet",
        _net(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(6, 5),
        ),
        _points(3, 2, 8, 8),
    ),
    Case("feature maps", _net(nn.Conv2d(1, 3, 3), nn.ReLU()), _points(2, 1, 6, 6)),
    Case("piecewise linear", lambda x: (2 * x).clamp(-1, 1) - x.abs().flip(1), _points(4, 6)),
    Case("every batched op", _every_batched_op, _points(4, 6)),
    Case("kink", lambda x: x.relu() + x.abs() @ _points(3, 3), torch.zeros(2, 3).double()),
    Case("repeated values", _linear([3.0, 3.0, 3.0, 1.0, 1.0], 8, 10), _points(3, 10)),
    Case("identity", lambda x: x, _points(2, 4)),
    Case("low rank", _linear([2.0, 1.0], 30, 45), _points(2, 45)),
    Case("m = 1", lambda x: x.sin().sum(1), _points(4, 6)),
    Case("n = 1", lambda x: torch.cat([x, x.exp(), -x], 1), _points(4, 1)),
    Case("m = n = 1", lambda x: x**3, _points(3, 1)),
    Case("zero", lambda x: 0.0 * x[:, :2], _points(2, 5)),
    Case("constant", lambda x: torch.ones(len(x), 3).double(), _points(2, 5)),
    Case("step", lambda x: x.sign(), _points(2, 5)),
    Case("one input", MLP, _points(1, 12)),
    Case("huge", lambda x: 1e200 * MLP(x), _points(3, 12)),
    Case("minute", lambda x: 1e-200 * MLP(x), _points(3, 12)),
]
ORDER: dict[Norm, float] = {Norm.L1: 1, Norm.L2: 2, Norm.LINF: float("inf")}
WAYS: list[tuple[Norm, Compute]] = [
    *((p, partial(jacobian_norms, method="explicit", directions=True)) for p in Norm),
    (Norm.L2, partial(jacobian_norms, method="lanczos", tolerance=1e-11, directions=True)),
]
WAY_IDS = ["l1", "l2", "linf", "l2-lanczos"]


def _dense(case: Case) -> torch.Tensor:
    """[N, m, n], one input at a time."""
    jacobian_of = cast("Callable[..., torch.Tensor]", torch.autograd.functional.jacobian)
    rows = [jacobian_of(case.fn, case.x[i : i + 1]) for i in range(len(case.x))]
    return torch.stack([j.reshape(-1, case.x[0].numel()) for j in rows])


def law_equals_dense(case: Case, norm: Norm, compute: Compute) -> None:
    found, j = compute(case.fn, case.x, norm), _dense(case)
    scale = float(j.abs().max()) or 1.0
    truth = torch.linalg.matrix_norm(j / scale, ORDER[norm]) * scale
    assert found.norm.dtype == torch.float64
    assert found.norm.shape == (len(case.x),)
    torch.testing.assert_close(found.norm, truth, rtol=1e-10, atol=0.0)
    values = torch.linalg.svdvals(j / scale) * scale
    if norm is Norm.L2:
        miss = (values - found.norm[:, None]).abs().amin(1)
        assert bool((miss <= found.residual + 1e-12 * scale).all())
    assert bool(found.converged.all())


def law_direction_attains(case: Case, norm: Norm, compute: Compute) -> None:
    found = compute(case.fn, case.x, norm)
    assert found.direction is not None
    assert found.direction.shape == case.x.shape
    d, j = found.direction.flatten(1), _dense(case)
    scale = float(j.abs().max()) or 1.0
    torch.testing.assert_close(norm.of(d), torch.ones(len(d)).double(), rtol=1e-12, atol=0.0)
    image = norm.of((j / scale @ d[:, :, None])[:, :, 0]) * scale
    torch.testing.assert_close(image, found.norm, rtol=1e-9, atol=0.0)


def law_chunks_agree(case: Case, norm: Norm, compute: Compute) -> None:
    whole = compute(case.fn, case.x, norm)
    for size in (1, 2):
        seen: list[int] = []
        parts = partial(compute, batch_size=size, progress=seen.append)(case.fn, case.x, norm)
        torch.testing.assert_close(parts.norm, whole.norm, rtol=1e-12, atol=0.0)
        assert seen == sorted(seen)
        assert seen[-1] == len(case.x)


LAWS = [law_equals_dense, law_direction_attains, law_chunks_agree]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize(("norm", "compute"), WAYS, ids=WAY_IDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_law(law: Callable[..., None], case: Case, norm: Norm, compute: Compute) -> None:
    law(case, norm, compute)


def _result(norm: torch.Tensor, direction: torch.Tensor | None = None) -> JacobianNorms:
    return JacobianNorms(norm, direction, 0 * norm, norm >= 0, "planted")


def _power(fn: Function, x: torch.Tensor, norm: Norm) -> JacobianNorms:
    j = _dense(Case("", fn, x))
    v = _points(len(x), j.shape[2], 1)
    for _ in range(3):
        v = j.mT @ (j @ v)
        v = v / v.norm(dim=1, keepdim=True)
    return _result((j @ v).norm(dim=1)[:, 0])


def _transposed(fn: Function, x: torch.Tensor, norm: Norm) -> JacobianNorms:
    return jacobian_norms(fn, x, norm.dual, directions=True)


def _float32(fn: Function, x: torch.Tensor, norm: Norm) -> JacobianNorms:
    j = _dense(Case("", fn, x)).float()
    return _result(torch.linalg.matrix_norm(j, ORDER[norm]).double())


def _left_vector(fn: Function, x: torch.Tensor, norm: Norm) -> JacobianNorms:
    """For square J: the direction of the wrong side."""
    u, s, _ = torch.linalg.svd(_dense(Case("", fn, x)))
    return _result(s[:, 0], u[:, :, 0])


def _one_start_a_call(fn: Function, x: torch.Tensor, norm: Norm, batch_size: int = 99, **_: object) -> JacobianNorms:
    """Start vectors drawn for the batch, and stopped early: the chunking shows."""
    found = [
        jacobian_norms(fn, part, norm, method="lanczos", tolerance=0.1, seed=batch_size).norm
        for part in torch.tensor_split(x, tuple(range(batch_size, len(x), batch_size)))
    ]
    return _result(torch.cat(found))


def _sloppy(fn: Function, x: torch.Tensor, norm: Norm) -> JacobianNorms:
    return jacobian_norms(fn, x, norm, method="lanczos", tolerance=0.1)


@pytest.mark.parametrize(
    ("law", "norm", "planted", "name"),
    [
        (law_equals_dense, Norm.L2, _power, "relu mlp"),
        (law_equals_dense, Norm.L2, _sloppy, "m > n"),
        (law_equals_dense, Norm.L2, _float32, "convnet"),
        (law_equals_dense, Norm.L1, _float32, "m > n"),
        (law_equals_dense, Norm.L1, _transposed, "relu mlp"),
        (law_equals_dense, Norm.LINF, _transposed, "m > n"),
        (law_direction_attains, Norm.L2, _left_vector, "tanh"),
        (law_direction_attains, Norm.LINF, _transposed, "relu mlp"),
        (law_chunks_agree, Norm.L2, _one_start_a_call, "tanh"),
    ],
)
def test_planted_is_rejected(law: Callable[..., None], norm: Norm, planted: Compute, name: str) -> None:
    with pytest.raises(AssertionError):
        law({case.name: case for case in CASES}[name], norm, planted)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_linear_maps_of_known_norm(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 12))
    m, n = (data.draw(st.integers(rank, 20)) for _ in range(2))
    # From clusters, and down to 1e-12.
    exponents = data.draw(st.lists(st.sampled_from([0, 1e-9, 1e-4, 0.1, 1, 12]), min_size=rank))
    fn = _linear([10.0**-e for e in exponents[:rank]], m, n)
    for method in ("explicit", "lanczos"):
        found = jacobian_norms(fn, _points(2, n), Norm.L2, method=method, directions=True)
        truth = torch.full((2,), 10.0 ** -min(exponents[:rank]), dtype=torch.float64)
        torch.testing.assert_close(found.norm, truth, rtol=1e-6, atol=0.0)
        assert bool((found.norm <= truth * (1 + 1e-13)).all())
        assert bool(found.converged.all())


def test_default_agrees_with_explicit_where_it_is_lanczos() -> None:
    net, x = _net(nn.Linear(60, 80), nn.ReLU(), nn.Linear(80, 70)), _points(6, 60)
    dense = jacobian_norms(net, x, Norm.L2, method="explicit")
    found = jacobian_norms(net, x, Norm.L2)
    assert (found.method, dense.method) == ("lanczos", "explicit")
    torch.testing.assert_close(found.norm, dense.norm, rtol=1e-6, atol=0.0)
    assert bool((found.residual <= 1e-6 * found.norm).all() and found.converged.all())


def test_same_call_same_bits_and_seed_fixes_the_sign() -> None:
    x = _points(3, 12)
    first, again, other = (jacobian_norms(MLP, x, Norm.L2, directions=True, seed=seed) for seed in (0, 0, 4))
    assert first.direction is not None
    assert again.direction is not None
    assert other.direction is not None
    assert torch.equal(first.norm, again.norm)
    assert torch.equal(first.direction, again.direction)
    torch.testing.assert_close(abs((first.direction * other.direction).sum(1)), x[:, 0] * 0 + 1)


def test_slow_samples_have_a_second_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jacobian, "_STEPS", 3)
    seen: list[int] = []
    x = torch.cat([torch.zeros(2, 9).double(), _points(3, 9)])
    found = jacobian_norms(lambda x: (x.tanh() ** 2).cumsum(1), x, Norm.L2, method="lanczos", progress=seen.append)
    case = Case("", lambda x: (x.tanh() ** 2).cumsum(1), x)
    torch.testing.assert_close(found.norm, torch.linalg.svdvals(_dense(case))[:, 0])
    assert seen == [2, 5]


def test_what_did_not_converge_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jacobian, "_STEPS", 2)
    monkeypatch.setattr(jacobian, "_MEMORY", 1)
    case = CASES[0]
    found = jacobian_norms(case.fn, case.x, Norm.L2, method="lanczos")
    top = torch.linalg.svdvals(_dense(case))[:, 0]
    assert not bool(found.converged.any())
    assert bool((found.residual > 1e-6 * top).all())
    assert bool(((found.norm > 0.5 * top) & (found.norm < top)).all())


def test_memory_bounds_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def fn(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        y: torch.Tensor = MLP(x)
        return y

    whole = jacobian_norms(fn, _points(40, 12), Norm.L2)
    assert sizes == [1, 40]
    monkeypatch.setattr(jacobian, "_MEMORY", 20_000)
    parts = jacobian_norms(fn, _points(40, 12), Norm.L2)
    assert 1 < max(sizes[2:]) < 20
    assert torch.allclose(whole.norm, parts.norm, rtol=1e-13)


@pytest.mark.parametrize(("norm", "compute"), WAYS, ids=WAY_IDS)
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_jacobian_that_is_not_finite_is_refused(norm: Norm, compute: Compute, value: float) -> None:
    x = _points(6, 12)
    x[3:5, 0] = value
    for size in (1, 6):
        with pytest.raises(InvalidInput, match="at sample 3 is not finite"):
            partial(compute, batch_size=size)(lambda x: MLP(x * x[:, :1]), x, norm)
    with pytest.raises(InvalidInput, match="at sample 1 "):
        compute(
            lambda x: x.sqrt() + x.sum(1, keepdim=True),
            torch.tensor([[1.0, 1], [1, 0]]).double(),
            norm,
        )


def test_arguments_it_cannot_serve() -> None:
    x = _points(2, 12)
    for bad in (x.float(), x[:0], x[:, :0]):
        with pytest.raises(ValueError, match="not a float64 batch"):
            jacobian_norms(MLP, bad, Norm.L2)
    for fn in (lambda x: x.float(), lambda x: x[:1].repeat(3, 1), lambda x: x[:, :0]):
        with pytest.raises(ValueError, match="not a float64 batch"):
            jacobian_norms(fn, x, Norm.L2)
    with pytest.raises(ValueError, match="lanczos is for l2"):
        jacobian_norms(MLP, x, Norm.L1, method="lanczos")


def test_works_without_grad_and_leaves_the_input_alone() -> None:
    x = _points(3, 12)
    with torch.no_grad():
        found = jacobian_norms(MLP, x, Norm.L2, method="lanczos", directions=True)
    assert not x.requires_grad
    assert x.grad is None
    assert found.direction is not None
    assert not found.norm.requires_grad
    assert not found.direction.requires_grad
