"""The commands by name. Each is one small file; torch and onnx are imported only once one of them runs."""

from __future__ import annotations

from typing import Annotated

import typer

from lipaudit.cli.annotate import annotate
from lipaudit.cli.baseline import baseline
from lipaudit.cli.bound import bound
from lipaudit.cli.certify import certify
from lipaudit.cli.check import check
from lipaudit.cli.explain import explain
from lipaudit.cli.gate import gate
from lipaudit.cli.init import init
from lipaudit.cli.local import local
from lipaudit.cli.schema import schema
from lipaudit.cli.verify import verify

app = typer.Typer(
    name="lipaudit",
    help="Certified audits of an ONNX model's Lipschitz constant: global bounds, local sensitivity, certified radii "
    "and a gate for CI.",
    epilog="Exit codes: 0 audited (gate: passed), 1 gate: failed, 2 usage or invalid input, 3 no verdict, "
    "4 internal fault.",
    no_args_is_help=False,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"lipaudit {version('lipaudit')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    return


app.add_typer(baseline, name="baseline")
for _command in (bound, local, certify, gate, check, annotate, init, verify, explain, schema):
    app.command()(_command)
