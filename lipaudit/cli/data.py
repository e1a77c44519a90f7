"""The data of a report: its samples row by row (csv, npz), and the witness of its lower bound (npz)."""

from __future__ import annotations

import csv
import io

import numpy as np

from lipaudit.errors import UsageError
from lipaudit.report.report import AuditReport


def csv_bytes(report: AuditReport, labels: np.ndarray | None) -> bytes:
    """index,norm of `local`; index,label,radius,correct of `certify` (label: where it was given).

    After an attack also attacked (the distance of the nearest counterexample, inf: none found) and answer (its class,
    -1: none).
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    columns = _columns(report, labels)
    writer.writerow(["index", *columns])
    for index, row in enumerate(zip(*(column.tolist() for column in columns.values()), strict=True)):
        writer.writerow([index, *(int(value) if isinstance(value, bool) else value for value in row)])
    return stream.getvalue().encode("ascii")


def npz_bytes(report: AuditReport, labels: np.ndarray | None) -> bytes:
    """The same columns as arrays, the directions where they were kept, and the witness: two inputs and their slope."""
    arrays = {} if report.samples is None and report.radii is None else _columns(report, labels)
    if report.lower is not None:
        slope = np.float64(report.lower.bound.value)
        arrays |= {"witness_x": report.lower.x, "witness_y": report.lower.y, "witness_slope": np.asarray(slope)}
    if report.samples is not None and report.samples.directions is not None:
        arrays["direction"] = report.samples.directions
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # its stub takes a keyword for a flag
    return stream.getvalue()


def _columns(report: AuditReport, labels: np.ndarray | None) -> dict[str, np.ndarray]:
    if report.samples is not None:
        return {"norm": report.samples.values}
    if report.radii is None:
        raise UsageError("csv and npz hold one row a sample: only local and certify have any")
    given = {} if labels is None else {"label": np.asarray(labels).reshape(-1).astype(np.int64)}
    found = {**given, "radius": report.radii.values, "correct": np.asarray(report.radii.correct, dtype=bool)}
    if (attack := report.radii.attack) is not None:
        found |= {"attacked": attack.values, "answer": attack.answers}
    return found
