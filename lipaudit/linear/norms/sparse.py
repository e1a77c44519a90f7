"""Linear maps as sparse matrices, and the Gram matrix of one in block columns.

fl(A) of a composite is the product (sum) of its pieces' matrices. An entry of a product of two is an inner product of
as many terms as a row of the left one has entries, in some order, so that |fl(A) - A| <= gamma_n |A_k|..|A_1| with n
the map's own `roundings`, as for its application to vectors (`map.LinearMap`). The Gram matrix G = fl(A) fl(A)' is
off by gamma_m |fl(A)||fl(A)|', m the entries of a row (or column), the norm of which is at most ||.||_1 ||.||_inf.

The unknowns are ordered as they come, channels last, or by reverse Cuthill and McKee, whichever has the narrowest band.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Shape, Sum
from lipaudit.linear.norms.block_cholesky import BandedGram
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.numerics.rounding import TINY, add_up, gamma, mul_up

_BLOCK = 128


def entries(part: LinearMap) -> int:
    """How many entries its sparse matrix, and every one on the way to it, has at most."""
    return max(part.out_size * _row(part), part.in_size * _row(part, across=False), 1)


def _row(part: LinearMap, *, across: bool = True) -> int:
    """Entries of a row (column) at most."""
    most = part.in_size if across else part.out_size
    match part:
        case Selection():
            return 1 if across else part.most_copies()
        case Diagonal():
            return 1
        case Dense():
            return int(part.weight.shape[-1 if across else -2])
        case Conv():
            channels = part.kernel.shape[1] if across else len(part.kernel) // part.groups
            return min(most, channels * math.prod(part.kernel.shape[2:]))
        case Adjoint():
            return _row(part.of, across=not across)
        case Compose():
            return min(most, math.prod(_row(piece, across=across) for piece in part.maps))
        case Sum():
            return min(most, sum(_row(term, across=across) for term in part.terms))
        case _:
            return most


def as_sparse(part: LinearMap) -> sparse.csr_array:
    """fl(A) [out_size, in_size]; an unknown kind of map by way of its dense matrix."""
    match part:
        case Selection():
            index = part.indices().numpy()
            rows = np.flatnonzero(index != NOTHING)
            return _matrix(np.ones(len(rows)), rows, index[rows], part)
        case Diagonal():
            scale = part.scale.expand(part.shape).reshape(-1).numpy()
            return sparse.csr_array(sparse.diags_array(scale))
        case Dense():
            return _dense(part)
        case Conv():
            return _conv(part)
        case Adjoint():
            return sparse.csr_array(as_sparse(part.of).T)
        case Compose():
            product = as_sparse(part.maps[0])
            for piece in part.maps[1:]:
                product = as_sparse(piece) @ product
            return sparse.csr_array(product)
        case Sum():
            total = as_sparse(part.terms[0])
            for term in part.terms[1:]:
                total = total + as_sparse(term)
            return sparse.csr_array(total)
        case _:
            return sparse.csr_array(part.as_matrix().numpy())


def _matrix(values: np.ndarray, rows: np.ndarray, columns: np.ndarray, part: LinearMap) -> sparse.csr_array:
    return sparse.csr_array((values, (rows, columns)), shape=(part.out_size, part.in_size))


def _dense(part: Dense) -> sparse.csr_array:
    n_out, n_in = part.weight.shape[-2:]
    leads = math.prod(part.lead)
    weight = part.weight.expand(*part.lead, n_out, n_in).reshape(leads, n_out, n_in, 1)
    grid = np.ogrid[:leads, :n_out, :n_in, : part.trail]
    shape = (leads, n_out, n_in, part.trail)
    rows = np.broadcast_to((grid[0] * n_out + grid[1]) * part.trail + grid[3], shape)
    columns = np.broadcast_to((grid[0] * n_in + grid[2]) * part.trail + grid[3], shape)
    values = np.broadcast_to(weight.numpy(), shape)
    return _matrix(values.ravel(), rows.ravel(), columns.ravel(), part)


def _conv(part: Conv) -> sparse.csr_array:
    """An entry for every output, channel of its group, and tap that is not in the padding."""
    groups, axes = part.groups, len(part.source) - 2
    outs, ins = part.out_shape[2:], part.source[2:]
    per_in, per_out = part.kernel.shape[1], len(part.kernel) // groups
    rows, columns, taps = (np.zeros(1, np.int64) for _ in range(3))
    for i in range(axes):
        y, a = (x.ravel() for x in np.mgrid[: outs[i], : part.kernel.shape[2 + i]])
        met = y * part.stride[i] + a * part.dilation[i] - part.pads[i][0]
        inside = (met >= 0) & (met < ins[i])
        y, a, met = y[inside], a[inside], met[inside]
        rows = (rows[:, None] * outs[i] + y).ravel()
        columns = (columns[:, None] * ins[i] + met).ravel()
        taps = (taps[:, None] * part.kernel.shape[2 + i] + a).ravel()
    sample, group, o, c = (x.reshape(-1, 1) for x in np.mgrid[: part.source[0], :groups, :per_out, :per_in])
    weights = part.kernel.flatten(2).numpy()[group * per_out + o, c, taps]
    out_channel = (sample * groups + group) * per_out + o
    in_channel = (sample * groups + group) * per_in + c
    all_rows = out_channel * math.prod(outs) + rows
    all_columns = in_channel * math.prod(ins) + columns
    return _matrix(weights.ravel(), all_rows.ravel(), all_columns.ravel(), part)


@final
@dataclass(frozen=True, slots=True, eq=False)
class SparseGram(BandedGram):
    """A A' of a sparse A, its rows in the order of the narrowest band."""

    size: int
    block: int
    reach: int
    error: float
    spread: float
    matrix: sparse.csr_array

    def column(self, index: int) -> torch.Tensor:
        b = self.block
        out = torch.zeros((self.reach + 1) * b, b, dtype=torch.float64)
        first, last = index * b, min((index + 1) * b, self.size)
        end = min(first + len(out), self.size)
        piece = self.matrix[first:last, first:end].toarray()  # symmetric: a block row is a block column
        out[: end - first, : last - first] = torch.from_numpy(piece).mT
        return out


def sparse_gram(matrix: sparse.csr_array, rows: Shape, columns: Shape) -> SparseGram:
    """The Gram matrix of the smaller side. rows, columns: what the sides were before they were flattened.

    matrix: entries of about 1 at most (scaled). The side is a choice: A and A' have one norm.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else sparse.csr_array(matrix.T)
    shape = rows if matrix.shape[0] <= matrix.shape[1] else columns
    product = sparse.csr_array(wide @ wide.T)
    size = wide.shape[0]
    options = [np.arange(size)]
    if len(shape) > 2:
        options.append(np.moveaxis(np.arange(size).reshape(shape), 1, -1).ravel())
    options.append(np.asarray(reverse_cuthill_mckee(sparse.csr_matrix(product), symmetric_mode=True), np.int64))
    widths = [_bandwidth(product, order) for order in options]
    order, width = min(zip(options, widths, strict=True), key=lambda pair: pair[1])
    block = max(1, min(_BLOCK, size))
    length = max(int(np.diff(wide.indptr).max(initial=0)), 1)
    magnitude = abs(wide)
    schur = mul_up(float(magnitude.sum(0).max(initial=0.0)), float(magnitude.sum(1).max(initial=0.0)), 1.0 + 2.0**-30)
    underflow = mul_up(8.0 * length * (2 * width + 1), TINY)
    error = add_up(mul_up(gamma(length + 1), schur), underflow)
    spread = add_up(mul_up(schur, 1.0 + 2.0**-20), underflow)
    return SparseGram(size, block, -(-width // block), error, spread, sparse.csr_array(product[order][:, order]))


def _bandwidth(matrix: sparse.csr_array, order: np.ndarray) -> int:
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    pairs = matrix.tocoo()
    return int(np.abs(place[pairs.coords[0]] - place[pairs.coords[1]]).max(initial=0))
