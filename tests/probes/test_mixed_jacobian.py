"""Laws of Jacobian norms between two different vector norms."""

from __future__ import annotations

import pytest
import torch

from lipaudit.numerics.norms import Norm, NormPair
from lipaudit.probes.jacobian import jacobian_norms
from lipaudit.probes.mixed_jacobian import is_hard
from tests.cases.maps import randn
from tests.laws.mixed_laws import GROTHENDIECK, PAIRS, attained


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (5, 5)], ids=str)
def test_norm_and_direction(shape: tuple[int, int], pair: NormPair) -> None:
    """Of x -> W tanh(V x): against the dense Jacobian; the direction has norm 1 and is amplified as much as said."""
    w, v = randn(shape[0], 4), randn(4, shape[1], seed=1)
    x = randn(6, shape[1], seed=2)
    method = "ascent" if is_hard(pair) else "auto"
    answer = jacobian_norms(lambda z: (z @ v.mT).tanh() @ w.mT, x, pair, method=method, directions=True)  # type: ignore[arg-type]
    assert answer.direction is not None
    assert torch.allclose(pair.source.of(answer.direction), torch.ones(6, dtype=torch.float64))
    for i in range(6):
        jacobian = w @ torch.diag(1 - (v @ x[i]).tanh() ** 2) @ v
        truth, _ = attained(jacobian, pair)
        said = float(answer.norm[i])
        reached = float(pair.target.of((jacobian @ answer.direction[i])[None])[0])
        assert reached == pytest.approx(said, rel=1e-12)
        if is_hard(pair):
            assert truth / GROTHENDIECK[str(pair)] <= said <= truth * (1 + 1e-12)
        else:
            assert said == pytest.approx(truth, rel=1e-12)


def test_a_hard_norm_is_never_called_the_norm() -> None:
    pair = NormPair(Norm.LINF, Norm.L2)
    with pytest.raises(ValueError, match="hard"):
        jacobian_norms(lambda z: 2 * z, randn(1, 3), pair)
    answer = jacobian_norms(lambda z: 2 * z, randn(1, 3), pair, method="ascent")
    assert answer.method == "ascent"
    assert not bool(answer.converged.any())
