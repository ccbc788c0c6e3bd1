"""The form of the source: its density, length and documentation stay easy to follow."""

import ast
import functools
import io
import itertools
import tokenize
from collections.abc import Iterator
from pathlib import Path

import unconcept

SOURCE = Path(unconcept.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
PARAMETERS = 6
# Participles that do not say what a value is.
EMPTY_NAMES = {"told", "said", "asked", "given", "found", "own", "made", "kept"}
LINE_LENGTH = 100


@functools.cache
def trees() -> list[tuple[Path, ast.Module]]:
    """Every module of the source, parsed once."""
    return [(file.relative_to(SOURCE), ast.parse(file.read_text())) for file in FILES]


def code_lines(text: str) -> int:
    """Lines that hold code: no blank lines, comments or docstrings."""
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    lines: set[int] = set()
    previous = tokenize.INDENT
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_docstring = token.type == tokenize.STRING and previous in (
            tokenize.INDENT,
            tokenize.NEWLINE,
            tokenize.NL,
        )
        if token.type not in skipped and not is_docstring:
            lines.update(range(token.start[0], token.end[0] + 1))
        if token.type != tokenize.COMMENT:
            previous = token.type
    return len(lines)


def count(kind) -> int:
    return sum(isinstance(node, kind) for _, tree in trees() for node in ast.walk(tree))


def nested_comprehensions() -> list[str]:
    found = []
    for file, tree in trees():
        for node in ast.walk(tree):
            if not isinstance(node, COMPREHENSIONS):
                continue
            inside = any(
                isinstance(child, COMPREHENSIONS) for child in ast.walk(node) if child is not node
            )
            if inside:
                found.append(f"{file}:{node.lineno}")
    return found


def functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, ast.ClassDef | None]]:
    """(function, its class) of modules and classes, without functions inside functions."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node, None
        elif isinstance(node, ast.ClassDef):
            for member in methods(node):
                yield member, node


def methods(owner: ast.ClassDef) -> list[ast.FunctionDef]:
    return [member for member in owner.body if isinstance(member, ast.FunctionDef)]


def is_public(function: ast.FunctionDef, owner: ast.ClassDef | None) -> bool:
    names = [function.name] if owner is None else [owner.name, function.name]
    return not any(name.startswith("_") for name in names)


def parameters(function: ast.FunctionDef) -> list[str]:
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


def test_lambdas_and_comprehensions_stay_rare():
    thousands = sum(code_lines(file.read_text()) for file in FILES) / 1000
    assert count(ast.Lambda) / thousands <= 3
    assert count(COMPREHENSIONS) / thousands <= 40
    assert len(nested_comprehensions()) / thousands <= 0.5, nested_comprehensions()


def test_no_lambda_has_a_name():
    named = []
    for file, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Lambda):
                named.append(f"{file}:{node.lineno}")
    assert not named


def test_lines_fit():
    long = []
    for file in FILES:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if len(line) > LINE_LENGTH:
                long.append(f"{file.relative_to(SOURCE)}:{number}")
    assert not long


def test_functions_take_few_parameters():
    """Outside the command line, whose options are parameters."""
    many = []
    for file, tree in trees():
        if file.parts[0] == "cli":
            continue
        for function, _ in functions(tree):
            if len(parameters(function)) > PARAMETERS:
                many.append(f"{file}:{function.lineno} {function.name}")
    assert not many


@functools.cache
def classes() -> dict[str, list[ast.ClassDef]]:
    """The classes of the package by name, which several may share."""
    by_name: dict[str, list[ast.ClassDef]] = {}
    for _, tree in trees():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                by_name.setdefault(node.name, []).append(node)
    return by_name


def base_names(owner: ast.ClassDef) -> list[str]:
    """Names of the direct bases, without their module and what is in brackets."""
    return [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in owner.bases]


@functools.cache
def protocols() -> list[ast.ClassDef]:
    everything = list(itertools.chain.from_iterable(classes().values()))
    return [node for node in everything if "Protocol" in base_names(node)]


def ancestors(owner: ast.ClassDef) -> list[ast.ClassDef]:
    """The bases inside the package, their bases, and so on."""
    passed: list[ast.ClassDef] = []
    waiting = base_names(owner)
    while waiting:
        name = waiting.pop()
        for node in classes().get(name, []) if name != "Protocol" else []:
            if node is not owner and node not in passed:
                passed.append(node)
                waiting += base_names(node)
    return passed


def documents(function: ast.FunctionDef) -> bool:
    """Are there descriptions of arguments? Ruff (D417) checks that none of them is missing."""
    return "Args:" in (ast.get_docstring(function) or "")


def is_documented_above(function: ast.FunctionDef, owner: ast.ClassDef) -> bool:
    """Does a base, or a Protocol, document a method of this name with these parameters?"""
    for node in (*ancestors(owner), *protocols()):
        for method in methods(node):
            fits = method.name == function.name and documents(method)
            if fits and set(parameters(function)) <= set(parameters(method)):
                return True
    return False


def is_command(file: Path, function: ast.FunctionDef) -> bool:
    """Is this a command, whose parameters are options with a help of their own?"""
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    hints = [ast.unparse(a.annotation) for a in arguments if a.annotation]
    return file.parent == Path("cli/commands") and any("Parameter(" in hint for hint in hints)


def test_public_functions_document_their_arguments():
    """Or inherit it: a method may leave it to the base or the Protocol that it implements."""
    silent = []
    for file, tree in trees():
        for function, owner in functions(tree):
            if not is_public(function, owner) or not parameters(function):
                continue
            inherits = owner is not None and is_documented_above(function, owner)
            if not (documents(function) or inherits or is_command(file, function)):
                silent.append(f"{file}:{function.lineno} {function.name}")
    assert not silent


def test_values_have_names_that_say_what_they_are():
    empty = []
    for file, tree in trees():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                name = ""
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    name = node.id
                elif isinstance(node, ast.arg):
                    name = node.arg
                if name in EMPTY_NAMES:
                    empty.append(f"{file}:{node.lineno} {name}")
    assert not empty


def module_name(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(file: Path, tree: ast.Module, modules: set[str]) -> set[str]:
    """Modules of the package that a module imports, inside functions and for types alone, too."""
    imported = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = file.parts[: len(file.parts) - node.level]
        target = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            submodule = f"{target}.{alias.name}".lstrip(".")
            imported.add(submodule if submodule in modules else target)
    return (imported & modules) - {module_name(file)}


def test_no_modules_import_each_other_in_a_circle():
    modules = {module_name(file) for file, _ in trees()}
    imports = {module_name(file): imported_modules(file, tree, modules) for file, tree in trees()}
    # What imports nothing that is left cannot be on a circle, and is taken away.
    while free := [name for name, targets in imports.items() if not targets & imports.keys()]:
        for name in free:
            del imports[name]
    assert not imports


def test_packages_define_nothing():
    """Their `__init__` tells the story and names what is public."""
    definitions = []
    for file, tree in trees():
        if file.name == "__init__.py":
            for node in tree.body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    definitions.append(f"{file}:{node.lineno} {node.name}")
    assert not definitions
