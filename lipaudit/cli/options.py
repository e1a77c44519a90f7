"""The options that commands share, as two dataclasses, and the decorator that spells them out for typer."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from lipaudit.errors import UsageError

Format = Literal["text", "json", "markdown", "html", "junit", "sarif", "github", "cyclonedx", "csv", "jsonl"]

ModelArgument = Annotated[
    Path | None,
    typer.Argument(metavar="MODEL", help="The ONNX file. May be left out where the configuration names one."),
]
InputsOption = Annotated[
    str | None, typer.Option("--inputs", metavar="FILE", help="Inputs [N, ...]: x.npy, or val.npz:x with its key.")
]
ModulusOption = Annotated[
    bool,
    typer.Option("--modulus", help="Read ops that jump too: |f(x) - f(y)| <= slope |x - y| + jump."),
]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", min=1, help="Only N of the samples, drawn by --seed (the report says so)."),
]


@dataclass(frozen=True, slots=True)
class Output:
    """Where the report goes, and in what form."""

    output_format: Annotated[Format, typer.Option("--output-format", help="The report on stdout.")] = "text"
    files: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--output-file",
            metavar="FORMAT:PATH",
            help="Also write a file (repeatable): a format of --output-format, or npz of the data.",
        ),
    ] = None
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Nothing on stderr but errors.")] = False
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Merged nodes, hashes and versions too.")] = False
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False
    color: Annotated[
        Literal["auto", "always", "never"], typer.Option("--color", help="Colours; auto obeys NO_COLOR.")
    ] = "auto"
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False


@dataclass(frozen=True, slots=True)
class Machine:
    """What runs the audit, apart from what is audited."""

    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="The configuration instead of lipaudit.toml or pyproject.toml."),
    ] = None
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option("--device", help="Where local measures; proofs are made on the CPU."),
    ] = "auto"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much the upper bounds may cost. None: as the configuration says, or the default."""

    budget: Annotated[
        str | None, typer.Option("--budget", metavar="TIME", help="For the upper bounds: 90, 60s or 2m (default: 60s).")
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision", metavar="GAP", help="How near to its true norm to prove a linear layer (default: 1e-3)."
        ),
    ] = None
    memory: Annotated[
        str | None, typer.Option("--memory", metavar="SIZE", help="For the proof of one layer (default: 2GiB).")
    ] = None


@dataclass(frozen=True, slots=True)
class Audit:
    """What is audited. None: as the configuration says, or the default."""

    norm: Annotated[
        str | None,
        typer.Option(
            "--norm", metavar="NORM[:NORM]", help="l2, l1 or linf on both sides, or linf:l2 for a pair (default: l2)."
        ),
    ] = None
    domain: Annotated[
        str | None,
        typer.Option(
            "--domain",
            metavar="LO,HI|FILE",
            help="Possible raw inputs: 0,1, an .npz with lower and upper, or a .vnnlib.",
        ),
    ] = None
    preprocess: Annotated[
        str | None,
        typer.Option(
            "--preprocess",
            metavar="HOW",
            help='Raw to model inputs: "none", "scale=255" or "mean=0.5,0.4,0.3;std=0.2,0.2,0.2".',
        ),
    ] = None
    shape: Annotated[
        list[str] | None,
        typer.Option("--shape", metavar="NAME=1,3,32,32", help="The shape of an input with open axes (repeatable)."),
    ] = None
    input: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME", help="The input that varies (repeatable; default: all without --fix)."),
    ] = None
    fix: Annotated[
        list[str] | None,
        typer.Option(
            "--fix", metavar="NAME=VALUE", help="Hold an input at a number or a .npy of its shape (repeatable)."
        ),
    ] = None
    output: Annotated[
        str | None, typer.Option("--output", metavar="NAME", help="The output to audit (default: all of them).")
    ] = None
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of every random choice (default: 0).")] = None


def refuse_beside_modulus(modulus: bool, **given: object) -> None:
    """Raises UsageError for an option that would do nothing beside --modulus. given: by name, None where left out."""
    named = next((name for name, value in given.items() if modulus and value is not None), None)
    if named is not None:
        option = f"--{named.replace('_', '-')}"
        raise UsageError(f"{option} does not go with --modulus, which bounds a slope and a jump in one way only")


def expanded(command: Callable[..., int]) -> Callable[..., int]:
    """The command with every parameter that is one of the dataclasses above replaced by that one's fields.

    typer reads a signature; this writes the long one out, so that each option is said once and has one meaning. A
    command's own options come first in its help.
    """
    hints = get_type_hints(command, include_extras=True)
    own, shared = [], []
    groups: dict[str, tuple[type[Any], tuple[str, ...]]] = {}
    for parameter in inspect.signature(command).parameters.values():
        hint = hints[parameter.name]
        if hint not in GROUPS:
            own.append(parameter.replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        kinds = get_type_hints(hint, include_extras=True)
        fields = dataclasses.fields(hint)
        groups[parameter.name] = hint, tuple(field.name for field in fields)
        shared += [_keyword(field.name, field.default, kinds[field.name]) for field in fields]

    def run(**values: Any) -> int:
        for name, (group, fields) in groups.items():
            values[name] = group(**{field: values.pop(field) for field in fields})
        return command(**values)

    parameters = [*own, *shared]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _keyword(name: str, default: object, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


GROUPS = (Audit, Machine, Effort, Output)
