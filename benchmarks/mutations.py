"""Small faults planted in the code, one at a time: how many do the fast tests of its package find?

    python benchmarks/mutations.py --mutants 100 --seed 0 --out runs/mutations.jsonl
    python benchmarks/mutations.py --mutants 100 --seed 0 --out runs/mutations.jsonl --show 17  # one of them, as a diff

A mutant is one module with one change of its syntax tree: a comparison turned (< to <=, == to !=), an arithmetic or
bitwise operator exchanged, a number one larger, a truth value or a condition negated, `and` for `or`, a keyword
argument dropped. The tests of the module run on it until one fails. For a change within a function they run in a fork
of one process that has imported everything, in which only the function's code is exchanged; for any other change
everything is imported again. Mutants that no test can find, since they compute the same, are listed in `EQUIVALENT`
with the reason and are not counted.

One line is printed for each mutant. The file keeps the results; the same command resumes, with `--again` also those
that survived. Fails (exit code 1) if fewer than 90 % are found. Needs a system with `fork`.
"""

import argparse
import ast
import difflib
import gc
import importlib.machinery
import inspect
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import NamedTuple

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lamae_toolkit"
TESTS = {
    "model/lamae.py": ["model/test_lamae.py", "model/test_linear_path.py"],
    "model/outputs.py": ["model/test_lamae.py"],
    "model/normalization.py": ["model/test_lamae.py", "model/test_linear_path.py"],
    "model/pooling.py": ["model/test_lamae.py"],
    "model/masking.py": ["model/test_masking.py", "model/test_lamae.py"],
    "evaluation/metrics.py": ["evaluation/test_metrics.py"],
    "evaluation/linear_probe.py": ["evaluation/test_linear_probe.py"],
    "evaluation/logistic_regression.py": ["evaluation/test_linear_probe.py"],
    "evaluation/probe_file.py": ["evaluation/test_linear_probe.py", "test_damaged_files.py"],
    "data/format.py": ["data/test_store.py", "test_damaged_files.py"],
    "data/store.py": ["data/test_store.py"],
    "explain/shapley.py": ["explain/test_shapley.py"],
    "explain/lead_shapley.py": ["explain/test_shapley.py"],
    "data/datasets/mimic_labels.py": ["data/test_mimic.py"],
    "ecg/preprocess.py": ["ecg/test_preprocess.py"],
}
"""The tests of each module, those of its own package that are fast."""
EQUIVALENT = {
    ("model/lamae.py", "device=mask.device", "argument 0 dropped"): "another device only on a GPU: CUDA tests",
    ("model/lamae.py", "keys = torch.randint", "argument 1 dropped"): "another device only on a GPU: CUDA tests",
    ("data/datasets/mimic_labels.py", "zip(stays.hadm_id", "boolean"): "columns of one table always have one length",
}
"""Mutants that compute the same, by module, part of the line and change, and why."""
LIMIT_S, AIM = 300, 0.9
UNCHANGED = "unchanged"
"""No change at all, tried once for each module: its tests pass."""

COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


class Mutant(NamedTuple):
    """A change of one node of a module: the number of the node in the order of `ast.walk`, and which change of it."""

    module: str
    node: int
    change: str
    line: int

    @property
    def name(self) -> str:
        return f"{self.module}:{self.line} {self.change} #{self.node}"

    @property
    def is_equivalent(self) -> bool:
        lines = (PACKAGE / self.module).read_text(encoding="utf-8").splitlines()
        return any(
            (self.module, self.change) == (module, change) and part in lines[self.line - 1]
            for module, part, change in EQUIVALENT
        )


def changes(node: ast.AST) -> Iterator[str]:
    """The changes that a node can have."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        yield "comparison"
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield "operator"
    if isinstance(node, ast.BoolOp):
        yield "and/or"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert | ast.USub):
        yield "sign or not dropped"
    if isinstance(node, ast.If | ast.IfExp):
        yield "condition negated"
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield "boolean"
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield "number + 1"
    if isinstance(node, ast.Call):
        for position, keyword in enumerate(node.keywords):
            if keyword.arg is not None:
                yield f"argument {position} dropped"


def change(node: ast.AST, what: str) -> None:
    """Change a node in place."""
    match node:
        case ast.Compare():
            node.ops[0] = COMPARISONS[type(node.ops[0])]()
        case ast.BinOp():
            node.op = OPERATORS[type(node.op)]()
        case ast.BoolOp():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.UnaryOp():  # twice is not at all
            node.operand = ast.UnaryOp(type(node.op)(), node.operand)
        case ast.If() | ast.IfExp():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.Constant():
            node.value = not node.value if what == "boolean" else node.value + 1
        case ast.Call():
            del node.keywords[int(what.split()[1])]


def unchanged_nodes(tree: ast.AST) -> set[int]:
    """Nodes that are no code to test: annotations, decorators, messages of errors."""
    left_out: set[int] = set()
    for node in ast.walk(tree):
        skipped: list[ast.AST] = []
        if isinstance(node, ast.Raise | ast.JoinedStr):
            skipped = [node]
        elif isinstance(node, ast.AnnAssign):
            skipped = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            skipped = [*node.decorator_list, *([node.returns] if node.returns else [])]
            skipped += [
                argument.annotation for argument in ast.walk(node.args) if getattr(argument, "annotation", None)
            ]
        elif isinstance(node, ast.ClassDef):
            skipped = [*node.decorator_list, *node.bases]
        left_out.update(id(inner) for one in skipped for inner in ast.walk(one))
    return left_out


def all_mutants(module: str) -> list[Mutant]:
    """Every mutant of a module."""
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    left_out = unchanged_nodes(tree)
    return [
        Mutant(module, number, what, getattr(node, "lineno", 0))
        for number, node in enumerate(ast.walk(tree))
        if id(node) not in left_out
        for what in changes(node)
    ]


def source(module: str, mutant: Mutant | None = None) -> str:
    """The source of a module without its comments, with a change or without."""
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    if mutant is not None and mutant.change != UNCHANGED:
        change(list(ast.walk(tree))[mutant.node], mutant.change)
    return ast.unparse(ast.fix_missing_locations(tree))


def sampled(count: int, seed: int) -> list[Mutant]:
    """Mutants at random, as many of each module as of the others as far as they go."""
    rng = np.random.default_rng(seed)
    of_modules = [[of[i] for i in rng.permutation(len(of))] for of in map(all_mutants, TESTS)]
    chosen = [mutant for turn in zip(*(of + [None] * count for of in of_modules), strict=False) for mutant in turn]
    return [mutant for mutant in chosen if mutant is not None][:count]


def install(sources: dict[str, str]) -> None:
    """Import these sources in place of those of the modules, in this process."""
    contents = {str(PACKAGE / module): text.encode() for module, text in sources.items()}
    loader = importlib.machinery.SourceFileLoader
    get_data, path_stats = loader.get_data, loader.path_stats

    def data(self: importlib.machinery.SourceFileLoader, path: str) -> bytes:
        return contents[path] if path in contents else get_data(self, path)

    def stats(self: importlib.machinery.SourceFileLoader, path: str) -> dict:
        return {"mtime": 1, "size": len(contents[path])} if path in contents else path_stats(self, path)

    sys.dont_write_bytecode = True  # and no cached bytecode has this time
    loader.get_data, loader.path_stats = data, stats  # type: ignore[method-assign]


def functions(code: CodeType) -> tuple[dict[tuple[str, int], CodeType], list[CodeType]]:
    """The code of a module's functions and methods by name and line, and that of the module and classes around them."""
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    around = [code.replace(co_consts=tuple(one for one in code.co_consts if not isinstance(one, CodeType)))]
    of: dict[tuple[str, int], CodeType] = {}
    for one in inner:
        if one.co_flags & inspect.CO_OPTIMIZED:
            of[one.co_qualname, one.co_firstlineno] = one
        else:  # a class
            methods, classes = functions(one)
            of, around = of | methods, around + classes
    return of, around


def changed_function(mutant: Mutant) -> tuple[CodeType, CodeType] | None:
    """The code of the function that a mutant changes, before and after; None if it is a constant, a default ..."""
    module = imported(mutant.module)
    to_code = module.__spec__.loader.source_to_code  # as the module was compiled, with checks of its types
    sources = source(mutant.module), source(mutant.module, mutant)
    (before, around), (after, around_after) = (functions(to_code(one.encode(), module.__file__)) for one in sources)
    changed = [key for key in before if before[key] != after[key]]
    if around != around_after or len(changed) != 1:
        return None
    old, new = before[changed[0]], after[changed[0]]
    return (old, new) if old.co_freevars == new.co_freevars and running(mutant.module, old) else None


def running(module: str, code: CodeType) -> list[FunctionType]:
    """The functions of an imported module that have this code."""
    known = [one for one in gc.get_objects() if isinstance(one, FunctionType) and one.__code__ == code]
    return [one for one in known if one.__module__ == imported(module).__name__]


def imported(module: str) -> ModuleType:
    return importlib.import_module("lamae_toolkit." + module.removesuffix(".py").replace("/", "."))


def fork(limit_s: int = LIMIT_S) -> str | None:
    """Fork this process; in the fork return None, else wait for it: "survived" if it ends with 0, or "found".

    A fork that takes more processor time than the limit, or ten times that by the clock, is ended.
    """
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, resource.RLIM_INFINITY))
        return None

    def stop(*_: object) -> None:
        os.killpg(child, signal.SIGTERM)
        os._exit(1)

    signal.signal(signal.SIGTERM, stop)
    end = time.monotonic() + 10 * limit_s
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "found" if status else "survived"
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.05)


def run_pytest(tests: Sequence[str], *plugins: object) -> int:
    """Run tests, which print nothing, until one fails."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1), os.dup2(sink, 2)
    options = ["-o", "addopts=--jaxtyping-packages=lamae_toolkit,typecheck.check", "-o", "timeout=0"]
    options += ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", f"--rootdir={ROOT}"]
    return int(pytest.main([*options, *(str(ROOT / "tests" / test) for test in tests)], plugins))


class Forks:
    """A plugin of pytest that runs the collected tests in a fork for each mutant of a function."""

    def __init__(self, mutants: Sequence[Mutant], report: Callable[[Mutant, str], None]) -> None:
        self.mutants, self.report = mutants, report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        for mutant in self.mutants:
            function = changed_function(mutant)
            if mutant.change != UNCHANGED and function is None:
                continue
            if (result := fork()) is None:
                tests = [str(ROOT / "tests" / test) for test in TESTS[mutant.module]]
                session.items[:] = [item for test in tests for item in session.items if str(item.path) == test]
                if function is not None:
                    for one in running(mutant.module, function[0]):
                        one.__code__ = function[1]
                return None  # in the fork, pytest goes on
            self.report(mutant, result)
        return True


def warm() -> None:
    """Import what the tests need and is not ours, once for all forks."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import beartype  # noqa: F401
    import hypothesis  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import scipy.signal  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch
    import wfdb  # noqa: F401

    torch.set_num_threads(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="file for the results, one line of JSON each")
    parser.add_argument("--again", action="store_true", help="try those that survived again")
    parser.add_argument("--show", type=int, help="print this mutant as a diff, and run nothing")
    arguments = parser.parse_args()
    mutants = sampled(arguments.mutants, arguments.seed)
    if arguments.show is not None:
        mutant = mutants[arguments.show]
        before, after = source(mutant.module).splitlines(), source(mutant.module, mutant).splitlines()
        print(mutant.name, *difflib.unified_diff(before, after, n=1), sep="\n")
        return 0
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.touch()
    printing = os.dup(1)

    def report(mutant: Mutant, result: str) -> None:
        number = mutants.index(mutant) if mutant in mutants else ""
        os.write(printing, f"{number:4} {result:9} {mutant.name}\n".encode())
        with open(arguments.out, "a", encoding="utf-8") as file:
            file.write(json.dumps({"mutant": mutant.name, "result": result}) + "\n")

    def known(first: int = 0) -> dict[str, str]:
        lines = arguments.out.read_text(encoding="utf-8").splitlines()[first:]
        return {row["mutant"]: row["result"] for row in map(json.loads, lines)}

    rows = len(arguments.out.read_text(encoding="utf-8").splitlines())
    done = {name for name, result in known().items() if result == "found" or not arguments.again}
    unchanged = [Mutant(module, 0, UNCHANGED, 0) for module in TESTS]
    todo = [mutant for mutant in mutants + unchanged if mutant.name not in done and not mutant.is_equivalent]
    warm()
    if todo and fork(limit_s=10**6) is None:  # of all of them
        install({module: source(module) for module in TESTS})
        os._exit(run_pytest(sorted({test for mutant in todo for test in TESTS[mutant.module]}), Forks(todo, report)))
    for mutant in todo:
        if mutant.name in known(rows):
            continue
        if (result := fork()) is None:
            install({mutant.module: source(mutant.module, mutant)})
            os._exit(run_pytest(TESTS[mutant.module]))
        report(mutant, result)
    results = known()
    failing = [mutant.module for mutant in unchanged if results[mutant.name] == "found"]
    if failing:
        sys.exit(f"The tests of {failing[0]} fail without any change; mend them first.")
    counted = [mutant for mutant in mutants if not mutant.is_equivalent]
    print("| module | mutants | found |\n|---|---:|---:|")
    for module in TESTS:
        of_module = [mutant for mutant in counted if mutant.module == module]
        print(f"| {module} | {len(of_module)} | {sum(results[one.name] == 'found' for one in of_module)} |")
    found = sum(results[one.name] == "found" for one in counted)
    print(f"| all, without {len(mutants) - len(counted)} that compute the same | {len(counted)} | {found} |")
    return int(found < AIM * len(counted))


if __name__ == "__main__":
    sys.exit(main())
