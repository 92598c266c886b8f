"""House rules that no linter knows: sizes, test files, packages under contract, where trio and shields may be."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("samtala", "room_server", "client", "wire", "vr", "mls", "dht")
FILE_LINES_MAX = 600
TEST_FILE_LINES_MAX = 800
"""Tests are read one at a time."""
FUNCTION_LINES_MAX = 60
LISTS_OF_FIELDS = {("vr/state.py", "__init__")}
"""Functions that may be longer, because they only name and describe fields."""
POSITIONAL_PARAMETERS_MAX = 5
"""Four and self."""

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in (*SOURCES, *TESTS)}

END_TO_END = "tests/samtala/demo/test_story.py"
COVERED_BY: dict[str, str] = {
    "client/room_readers.py": END_TO_END,
    "client/cluster.py": END_TO_END,
    "client/discovery.py": END_TO_END,
    "client/founding.py": END_TO_END,
    "client/membership.py": END_TO_END,
    "client/profile.py": END_TO_END,
    "client/room.py": END_TO_END,
    "client/room_driver.py": END_TO_END,
    "samtala/cli/lazy.py": "tests/samtala/cli/test_version.py",
    "samtala/cli/room.py": END_TO_END,
    "samtala/cli/run.py": END_TO_END,
    "samtala/cli/settings.py": "tests/samtala/cli/test_version.py",
    "samtala/cli/show.py": "tests/samtala/cli/test_node.py",
    "samtala/cli/talk.py": END_TO_END,
}
"""Modules without a test file of their own yet, and the test that would notice if they broke. To be emptied."""

TRIO_MODULES = {
    "client/*": "the client library is a trio shell around client's pure cores",
    "dht/node.py": "the DHT's only shell",
    "dht/endpoint.py": "its half at one socket",
    "room_server/*": "the server program is a trio shell around pure cores",
    "samtala/*": "the face",
    "vr/host/*": "many replicas in one trio process",
    "wire/channel.py": "frames over TLS",
    "wire/front.py": "first bytes of a stream",
    "wire/tls.py": "the MemoryBIO pump",
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", TREES, ids=relative)
def test_no_file_is_longer_than_a_reader_can_hold(path: Path) -> None:
    limit = TEST_FILE_LINES_MAX if "tests" in path.relative_to(ROOT).parts else FILE_LINES_MAX

    assert len(path.read_text().splitlines()) <= limit


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_function_is_longer_than_a_screen(path: Path) -> None:
    long = {
        node.name: (node.end_lineno or node.lineno) - node.lineno + 1
        for node in functions(TREES[path])
        if (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES_MAX
        and (relative(path), node.name) not in LISTS_OF_FIELDS
    }

    assert not long


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_parameters_beyond_four_have_names(path: Path) -> None:
    crowded = [
        node.name
        for node in functions(TREES[path])
        if len(node.args.posonlyargs) + len(node.args.args) > POSITIONAL_PARAMETERS_MAX
    ]

    assert not crowded


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_module_opens_with_its_theory(path: Path) -> None:
    assert ast.get_docstring(TREES[path])


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name not in {"__init__.py", "__main__.py"}], ids=relative)
def test_every_module_has_its_test_file(path: Path) -> None:
    package = path.relative_to(ROOT)
    wanted = ROOT / "tests" / package.parent / f"test_{package.stem.strip('_')}.py"
    covered_by = COVERED_BY.get(relative(path))

    assert wanted.exists() or covered_by is not None, f"{relative(path)} has no {relative(wanted)}"


def test_every_package_is_under_the_import_contracts() -> None:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}

    assert folders == set(configuration["tool"]["importlinter"]["root_packages"]) == set(PACKAGES)
    assert folders == set(configuration["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])


def test_only_listed_modules_import_trio() -> None:
    importers = set()
    for path in SOURCES:
        for node in ast.walk(TREES[path]):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "trio" for name in names):
                importers.add(path)

    strangers = [
        relative(path)
        for path in importers
        if not any(path.relative_to(ROOT).match(pattern) for pattern in TRIO_MODULES)
        and not any(relative(path).startswith(pattern[:-1]) for pattern in TRIO_MODULES if pattern.endswith("/*"))
    ]

    assert not strangers


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_shield_without_a_deadline(path: Path) -> None:
    for node in ast.walk(TREES[path]):
        if not isinstance(node, ast.Call):
            continue
        shielded = any(word.arg == "shield" and getattr(word.value, "value", False) is True for word in node.keywords)
        name = ast.unparse(node.func)
        assert not shielded or name.endswith(("move_on_after", "fail_after", "move_on_at", "fail_at")), (
            f"{relative(path)}:{node.lineno}: {name} shields without a deadline"
        )


MAY_CATCH_EVERYTHING = {"room_server/upnp.py": "its library, behind a thread, raises bare Exceptions"}


@pytest.mark.parametrize("path", [path for path in SOURCES if relative(path) not in MAY_CATCH_EVERYTHING], ids=relative)
def test_nothing_catches_everything(path: Path) -> None:
    broad = [
        node.lineno
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException", "trio.Cancelled"})
    ]

    assert not broad


@pytest.mark.parametrize("path", TESTS, ids=relative)
def test_tests_do_not_sleep(path: Path) -> None:
    """Sleeps in tests are either slow or wrong. `trio.sleep` is for tests on the autojump clock alone."""
    for node in ast.walk(TREES[path]):
        assert not (isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"), (
            f"{relative(path)}:{node.lineno}"
        )


def test_names_no_registry_and_no_machine() -> None:
    forbidden = ("pypi" + ".org", "files.python" + "hosted", "/work" + "/", "registry" + ".npmjs")
    texts = [*SOURCES, *TESTS, *ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("docs/**/*.md"), ROOT / "Makefile"]
    texts += list(ROOT.glob("requirements/*.txt"))

    found = [relative(path) for path in texts for word in forbidden if word in path.read_text()]

    assert not found


def test_change_fragments_are_named_for_their_readers() -> None:
    kinds = {"added", "changed", "fixed", "breaking", "security"}

    for fragment in (ROOT / "changelog.d").glob("*.md"):
        assert fragment.name.split(".")[-2] in kinds, fragment.name
