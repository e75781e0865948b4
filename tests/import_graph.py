"""Reads a source tree's imports with ast, without running anything."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One imported module or name, dotted (`scl_core.losses.structured.thing`), and where it is imported."""

    target: str
    file: Path
    line: int

    @property
    def top(self) -> str:
        return self.target.split(".")[0]

    def is_below(self, package: str) -> bool:
        return self.target == package or self.target.startswith(package + ".")

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.target}"


def python_files(root: Path, *starts: str) -> list[Path]:
    """The Python files at or below each start (a file or a folder of `root`), sorted."""
    found = [root / start for start in starts if (root / start).is_file()]
    for start in starts:
        found += (root / start).rglob("*.py")
    return sorted(found)


def module_name(root: Path, file: Path) -> str:
    """`scl_core/losses/__init__.py` -> `scl_core.losses`."""
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(root: Path, file: Path) -> list[Import]:
    """Every import of a file, also those inside functions; not those that only a type checker sees."""
    package = module_name(root, file).split(".")
    if file.name != "__init__.py":
        package = package[:-1]
    found = []
    for node in run_nodes(ast.parse(file.read_text(encoding="utf-8"))):
        found += [Import(target, file.relative_to(root), node.lineno) for target in targets(node, package)]
    return found


def run_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but the body of `if TYPE_CHECKING:`."""
    yield node
    guarded = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    for child in node.orelse if guarded else ast.iter_child_nodes(node):
        yield from run_nodes(child)


def targets(node: ast.AST, package: list[str]) -> list[str]:
    """The dotted names that an import statement brings in; relative ones are completed from their package."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = package[: len(package) - node.level + 1] if node.level else []
    module = ".".join([*base, *([node.module] if node.module else [])])
    return [f"{module}.{alias.name}" for alias in node.names]


def reachable(root: Path, start: str) -> list[Import]:
    """The imports of a module and of every module of `root` that it comes to import, packages' `__init__` included."""
    waiting, seen, found = [start], set(), []
    while waiting:
        module = waiting.pop()
        file = module_file(root, module)
        if file is None or file in seen:
            continue
        seen.add(file)
        here = imports_of(root, file)
        found += here
        waiting += [prefix for item in here for prefix in prefixes(item.target)]
    return found


def module_file(root: Path, module: str) -> Path | None:
    path = root.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def prefixes(dotted: str) -> list[str]:
    parts = dotted.split(".")
    return [".".join(parts[: length + 1]) for length in range(len(parts))]
