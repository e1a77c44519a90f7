"""docs/ops.md, from the registry: `python -m lipaudit.ops.table > docs/ops.md`."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from types import FunctionType

from lipaudit.ops.control import CONTROL, UNROLLED
from lipaudit.ops.discontinuous import DISCONTINUOUS
from lipaudit.ops.op import Op
from lipaudit.ops.registry import Entry, jump_registry, registry

_HEAD = """# The ops that are known

Written by `python -m lipaudit.ops.table > docs/ops.md` from the registry; a test keeps it current. A node whose op or
revision is not listed here, or which has an attribute that the op's author did not read, is refused by name.

*Revisions* are the `since_version` numbers of the op. *Built from* are the classes of lipaudit/ops whose rules apply;
`Affine` includes every linear map (lipaudit/linear). The *gain* is the Lipschitz constant by which it enters a bound,
in all of l1, l2 and linf unless it says otherwise; "needs a domain" means that there is none over all inputs.

| op | revisions | built from | gain | source |
|---|---|---|---|---|
"""

_JUMPS = """
## Ops that are refused because they jump

They have no finite Lipschitz constant wherever their input varies. Of constants they are computed at load time. With
`--modulus` those of the next table are read.

| op | reason |
|---|---|
"""

_MODULI = """
## Ops that are read with --modulus

For |f(x) - f(y)| <= slope |x - y| + jump. *Modulus* is (slope, jump); where it speaks of an entry, the jumps of all
entries that may jump over the domain are combined in the norm. An op of the first table is here for the arguments that
it is refused with there.

| op | revisions | built from | modulus | source |
|---|---|---|---|---|
"""

_CONTROL = """
## Ops that hold graphs of their own

They are unrolled while the file is read, where what is to run is constant once constants are folded.

| op | revisions | read as |
|---|---|---|
"""

_MADE_BY_METHODS = {"affine", "pick", "reshape", "broadcast"}


def table() -> str:
    """The whole page."""
    rows = [_row(entry) for entry in registry().values()]
    moduli = [_row(entry) for entry in jump_registry().values()]
    jumps = [f"| {op} | {why} |" for op, why in sorted(DISCONTINUOUS.items())]
    control = [f"| {op} | {', '.join(map(str, CONTROL[op]))} | {said} |" for op, said in UNROLLED.items()]
    return (
        _HEAD
        + "\n".join(rows)
        + "\n"
        + _CONTROL
        + "\n".join(control)
        + "\n"
        + _JUMPS
        + "\n".join(jumps)
        + "\n"
        + _MODULI
        + "\n".join(moduli)
        + "\n"
    )


def _row(entry: Entry) -> str:
    versions = ", ".join(str(v) for v in entry.versions)
    families = ", ".join(sorted(_families(entry))) or "the value itself"
    source = entry.parser.__module__.rpartition(".")[2]
    summary = entry.summary.replace("|", "\\|")
    return f"| {entry.op} | {versions} | {families} | {summary} | ops/onnx/{source}.py |"


def _families(entry: Entry) -> set[str]:
    """The op classes that the parser, or what it calls in its own package, names."""
    found: set[str] = set()
    seen: set[int] = set()
    assert isinstance(entry.parser, FunctionType)
    pending: list[FunctionType] = [entry.parser]
    while pending:
        function = pending.pop()
        if id(function) in seen:
            continue
        seen.add(id(function))
        names, methods = _names(function)
        if methods & _MADE_BY_METHODS:
            found.add("Affine")
        for name in sorted(names):
            value = function.__globals__.get(name)
            if isinstance(value, type) and issubclass(value, Op):
                found.add(value.__name__)
            elif isinstance(value, FunctionType) and _ours(value):
                pending.append(value)
            elif isinstance(value, type) and _ours(value):
                written = (part for name, part in vars(value).items() if not name.startswith("__"))
                pending.extend(part for part in written if isinstance(part, FunctionType))
    return found


def _ours(value: FunctionType | type) -> bool:
    return getattr(value, "__module__", "").startswith("lipaudit.ops.onnx")


def _names(function: FunctionType) -> tuple[set[str], set[str]]:
    """(names, methods of the node) that a function's source uses."""
    tree = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function))))
    names: set[str] = set()
    methods: set[str] = set()
    for part in tree:
        if isinstance(part, ast.Name):
            names.add(part.id)
        elif isinstance(part, ast.Attribute) and ast.unparse(part.value) in ("node", "self.node", "cell.node"):
            methods.add(part.attr)
    return names, methods


if __name__ == "__main__":
    sys.stdout.write(table())
