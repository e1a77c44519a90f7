"""The data of a report as arrays (npz): its samples, and the witness of its lower bound."""

from __future__ import annotations

import io

import numpy as np

from lipaudit.render.columns import columns
from lipaudit.report.report import AuditReport


def npz_bytes(report: AuditReport) -> bytes | None:
    """The columns of the CSV as arrays, the directions where they were kept, and the witness: two inputs, their slope.

    None where the report has none of these.
    """
    arrays = columns(report)
    if report.drawn is not None:
        arrays["index"] = report.drawn
    if report.lower is not None:
        slope = np.float64(report.lower.bound.value)
        arrays |= {"witness_x": report.lower.x, "witness_y": report.lower.y, "witness_slope": np.asarray(slope)}
    if report.samples is not None and report.samples.directions is not None:
        arrays["direction"] = report.samples.directions
    if not arrays:
        return None
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # its stub takes a keyword for a flag
    return stream.getvalue()
