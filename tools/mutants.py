"""Mutation tests: change the code of the lower floors in small ways, list the changes that no test notices.

``python tools/mutants.py`` runs mutmut as pyproject.toml says, then prints a table of the modules
and every survivor; tests/mutation.md says why each of them stays. What is done is kept in ``mutants/``, so a
second run takes up an interrupted one.
"""

import ast
import difflib
import json
from pathlib import Path

import libcst.matchers as m
from libcst import FunctionDef
from mutmut.__main__ import cli
from mutmut.mutation import file_mutation

# mutmut leaves decorated functions alone, since it decorates each copy too. These may go around all copies.
HARMLESS = m.Decorator(m.Call(m.Attribute(m.Name("torch"), m.Name("no_grad")))) | m.Decorator(
    m.Name("contextmanager")
)
skip = file_mutation.MutationVisitor._skip_node_and_children
arrange = file_mutation.function_trampoline_arrangement


def is_harmlessly_decorated(node) -> bool:
    """Whether a node is a function with one decorator, and that one harmless."""
    return isinstance(node, FunctionDef) and m.matches(node, m.FunctionDef(decorators=[HARMLESS]))


def arrange_undecorated(function, mutants, class_name):
    """The switch, decorated as the function was; behind it the function and its mutants, undecorated."""
    before, (switch, *copies), after, names = arrange(function, mutants, class_name)
    if is_harmlessly_decorated(function):
        copies = [copy.with_changes(decorators=[]) for copy in copies]
    return before, [switch, *copies], after, names


def differences(source: str, names: list[str]) -> dict[str, list[str]]:
    """The lines in which each mutant differs from the original."""
    lines, functions = source.splitlines(), {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name:
            own = lines[node.lineno - 1 : node.end_lineno]
            functions[node.name] = [line.strip().replace(node.name, "...") for line in own]
    changed = {}
    for name in names:
        original = functions[name.rpartition("_")[0] + "_orig"]
        diff = list(difflib.unified_diff(original, functions[name], n=0, lineterm=""))[2:]
        changed[name] = [line for line in diff if not line.startswith("@@")]
    return changed


def report(folder: Path) -> None:
    """Print the table and the survivors."""
    rows, survivors = [], []
    for meta in sorted(folder.rglob("*.py.meta")):
        codes = json.loads(meta.read_text())["exit_code_by_key"]
        if codes:
            module = meta.relative_to(folder).with_suffix("")
            alive = [key.rpartition(".")[2] for key, code in codes.items() if code == 0]
            undecided = sum(code not in (0, 1, 3) for code in codes.values())
            rows.append((str(module), len(codes), len(codes) - len(alive) - undecided, len(alive), undecided))
            survivors += differences(meta.with_suffix("").read_text(), alive).items()
    rows.append(("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    print("\n| module | mutants | killed | survived | undecided | score |\n|---|---:|---:|---:|---:|---:|")
    for module, total, killed, *rest in rows:
        print(f"| {module} | {total} | {killed} | {rest[0]} | {rest[1]} | {killed / total:.1%} |")
    for name, lines in survivors:
        print(f"\n{name}", *lines, sep="\n")


if __name__ == "__main__":
    file_mutation.MutationVisitor._skip_node_and_children = lambda self, node: (
        not is_harmlessly_decorated(node) and skip(self, node)
    )
    file_mutation.function_trampoline_arrangement = arrange_undecorated
    cli(["run", "--max-children", "1"], standalone_mode=False)
    report(Path("mutants"))
