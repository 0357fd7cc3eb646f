"""Which mutants of a module there are, and which of them are drawn; see `mutation`."""

import ast
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Mutant:
    """One change of cosmic-ray's; `occurrence`: of the places that its operator has in the module."""

    module: str
    operator: str
    occurrence: int
    line: int
    column: int

    def source(self) -> str:
        """The module with it."""
        return mutate_code((ROOT / self.module).read_text(), get_operator(f"core/{self.operator}")(), self.occurrence)

    def change(self) -> tuple[str, str]:
        """The first line that differs, before and after."""
        pairs = zip((ROOT / self.module).read_text().split("\n"), self.source().split("\n"), strict=False)
        was, becomes = next((one, two) for one, two in pairs if one != two)
        return was.strip(), becomes.strip()


def mutants(module: str) -> list[Mutant]:
    """All of a module's, less those that cannot change a value and those that are no Python."""
    no_python = unpacked(ast.parse((ROOT / module).read_text()))
    return [mutant for mutant in _listed(module) if (mutant.line, mutant.column) not in no_python]


@cache
def _listed(module: str) -> list[Mutant]:
    skipped = list(valueless(ast.parse((ROOT / module).read_text())))
    with use_db(":memory:", WorkDB.Mode.create) as db:
        init([ROOT / module], db, {})
        specs = [item.mutations[0] for item in db.work_items]
    specs = [spec for spec in specs if not any(low <= spec.start_pos < high for low, high in skipped)]
    specs.sort(key=lambda spec: (spec.start_pos, spec.operator_name, spec.occurrence))
    return [
        Mutant(module, spec.operator_name.removeprefix("core/"), spec.occurrence, *spec.start_pos) for spec in specs
    ]


Span = tuple[tuple[int, int], tuple[int, int]]


def valueless(tree: ast.Module) -> Iterator[Span]:
    """Where a mutant cannot change a value, see above."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(returns=returns, args=args):
                named = [*args.posonlyargs, *args.args, *args.kwonlyargs]
                yield from _spans([returns, *(arg.annotation for arg in named)])
            case ast.AnnAssign(annotation=annotation):
                yield from _spans([annotation])
            case ast.Raise(exc=raised):
                yield from _spans([raised])
            case ast.Call(func=ast.Name(id="say")) | ast.Call(func=ast.Attribute(value=ast.Name(id="logger"))):
                yield from _spans([node])
            case ast.Call(func=ast.Name(id="isinstance"), args=[_, kinds]):
                yield from _spans([kinds])
            case ast.Call(func=ast.Name(id="dataclass")):
                yield from _spans(node.keywords)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from _spans([node])
    yield from _spans([node.value for node in tree.body if isinstance(node, ast.Assign) and _is_type(node.value)])


def unpacked(tree: ast.Module) -> set[tuple[int, int]]:
    """Where a `*` or `**` takes something apart: cosmic-ray takes it for arithmetic, and what it makes is no Python."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Dict(keys=keys, values=values):
                pairs = zip(keys, values, strict=True)
                found |= {(value.lineno, value.col_offset - 2) for key, value in pairs if key is None}
            case ast.Starred() | ast.keyword(arg=None):
                found.add((node.lineno, node.col_offset))
    return found


def _is_type(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)


def _spans(nodes: list[Any]) -> Iterator[Span]:
    for node in nodes:
        if node is not None:
            yield (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def drawn(module: str, sample: int, seed: int) -> list[Mutant]:
    """A sample of a module's mutants, spread over its places."""
    draw, seen = random.Random(f"{seed}/{module}"), Counter[tuple[int, int]]()
    found, chosen = list(_listed(module)), set(mutants(module))
    draw.shuffle(found)
    ranked = []
    for mutant in found:
        if mutant not in chosen:
            continue
        ranked.append((seen[mutant.line, mutant.column], mutant))
        seen[mutant.line, mutant.column] += 1
    return [mutant for _, mutant in sorted(ranked, key=lambda pair: pair[0])[:sample]]
