"""The data of a report, sample by sample: csv for a spreadsheet, npz for numpy."""

from __future__ import annotations

import csv
import io

import numpy as np

from lipaudit.errors import UsageError
from lipaudit.report.report import AuditReport


def csv_bytes(report: AuditReport, labels: np.ndarray | None) -> bytes:
    """index,norm of `local`; index,label,radius,correct of `certify` (label: where it was given)."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    columns = _columns(report, labels)
    writer.writerow(["index", *columns])
    for index, row in enumerate(zip(*(column.tolist() for column in columns.values()), strict=True)):
        writer.writerow([index, *(int(value) if isinstance(value, bool) else value for value in row)])
    return stream.getvalue().encode("ascii")


def npz_bytes(report: AuditReport, labels: np.ndarray | None) -> bytes:
    """The same columns as arrays, and the directions where they were kept."""
    arrays = _columns(report, labels)
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
    return {**given, "radius": report.radii.values, "correct": np.asarray(report.radii.correct, dtype=bool)}
