"""The house rules, as far as a machine can hold the code to them: sizes, pure cores, docstrings, tests without sleep.

A breach is told by file and line; the remedy is to split by what the code decides, not to raise a limit (style §4).
"""

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from bus.topics import EVERY_SERVICE, TOPICS
from services.station.programs import PROGRAMS

ROOT = Path(__file__).parents[1]
PRODUCT = sorted([*ROOT.glob("bus/**/*.py"), *ROOT.glob("services/**/*.py"), *ROOT.glob("deploy/**/*.py")])
TESTS = sorted(ROOT.glob("tests/**/*.py"))

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500
TEST_LINES_MAX = 900
"""A module of tests is a list, read by its names; the limit only keeps it findable."""
PARAMETERS_MAX = 6
POSITIONAL_MAX = 5
"""Parameters that may be given without their names. Style §4 says two; helpers within a module may have a few more."""
PRESCRIBED = frozenset({"services/simulator/meter_server.py _act"})
"""Functions whose parameters a library prescribes."""
OUTER_LOOPS = frozenset(
    {
        "bus/runtime.py",
        "services/hardware/runner.py",
        "services/ocpp_link/websocket_thread.py",
        "services/station/support_bundle.py",
    }
)
"""Outer loops of a process, or of a byte-moving thread, that log what they did not expect and end; and the support bundle,
which notes it and goes on with the next part: it is wanted from stations on which something unexpected is wrong."""

PURE = frozenset(
    {
        "bus/calls.py",
        "bus/device_messages.py",
        "bus/events.py",
        "bus/folding.py",
        "bus/key_messages.py",
        "bus/latency_messages.py",
        "bus/messages.py",
        "bus/operating_messages.py",
        "bus/profile_messages.py",
        "bus/queue_messages.py",
        "bus/states.py",
        "bus/topics.py",
        "bus/vocabulary.py",
        "services/configuration/applied.py",
        "services/configuration/formats.py",
        "services/configuration/keys.py",
        "services/configuration/listen.py",
        "services/configuration/model.py",
        "services/connectors/authorization.py",
        "services/connectors/availability.py",
        "services/connectors/cards.py",
        "services/connectors/deliveries.py",
        "services/connectors/errors.py",
        "services/connectors/events.py",
        "services/connectors/local_list.py",
        "services/connectors/locks.py",
        "services/connectors/lost.py",
        "services/connectors/observations.py",
        "services/connectors/open_transaction.py",
        "services/connectors/orphans.py",
        "services/connectors/output.py",
        "services/connectors/overcurrent.py",
        "services/connectors/plug_in.py",
        "services/connectors/readings.py",
        "services/connectors/recovery.py",
        "services/connectors/reservations.py",
        "services/connectors/sampling.py",
        "services/connectors/settings.py",
        "services/connectors/state.py",
        "services/connectors/status.py",
        "services/connectors/supply.py",
        "services/connectors/transaction_data.py",
        "services/connectors/transactions.py",
        "services/connectors/triggered.py",
        "services/connectors/unattended.py",
        "services/connectors/unseen.py",
        "services/connectors/work.py",
        "services/demo/entries.py",
        "services/demo/narration.py",
        "services/demo/verdict.py",
        "services/hardware/contract.py",
        "services/meter/quality.py",
        "services/metrics/exposition.py",
        "services/metrics/figures.py",
        "services/ocpp_link/actions.py",
        "services/ocpp_link/backoff.py",
        "services/ocpp_link/call_error.py",
        "services/ocpp_link/clock.py",
        "services/ocpp_link/deliveries.py",
        "services/ocpp_link/events.py",
        "services/ocpp_link/latency.py",
        "services/ocpp_link/meter_values.py",
        "services/ocpp_link/payloads.py",
        "services/ocpp_link/profile_payloads.py",
        "services/ocpp_link/refusals.py",
        "services/ocpp_link/resets.py",
        "services/ocpp_link/routes.py",
        "services/ocpp_link/rpc.py",
        "services/ocpp_link/state.py",
        "services/ocpp_link/statuses.py",
        "services/ocpp_link/timestamps.py",
        "services/ocpp_link/translate.py",
        "services/ocpp_link/triggers.py",
        "services/ocpp_link/url.py",
        "services/ocpp_link/vendors.py",
        "services/ocpp_link/work.py",
        "services/rfid/drivers/payloads.py",
        "services/rfid/presentation.py",
        "services/simulator/board.py",
        "services/simulator/car.py",
        "services/simulator/circuit.py",
        "services/simulator/faults.py",
        "services/simulator/rapi.py",
        "services/station/device_layout.py",
        "services/station/facts.py",
        "services/station/log_filter.py",
        "services/station/log_lines.py",
        "services/station/log_story.py",
        "services/station/log_text.py",
        "services/station/masking.py",
        "services/station/programs.py",
        "services/station/queue_layout.py",
        "services/station/rendering.py",
        "services/station/report.py",
        "services/station/surroundings.py",
        "services/transaction_queue/problems.py",
        "services/transaction_queue/breaches.py",
        "services/transaction_queue/events.py",
        "services/transaction_queue/kept.py",
        "services/transaction_queue/ranges.py",
        "services/transaction_queue/recognition.py",
        "services/transaction_queue/rows.py",
        "services/transaction_queue/state.py",
        "services/transaction_queue/times.py",
        "services/watchdog/core.py",
        "services/watchdog/events.py",
        "services/watchdog/state.py",
    }
)
"""Modules that decide without I/O, clock, randomness, threads or logging, beside every `core.py`. New ones are added here."""
IMPURE_IMPORTS = frozenset(
    {"asyncio", "ctypes", "fcntl", "http", "io", "logging", "multiprocessing", "os", "pathlib", "pty", "queue", "random"}
    | {"secrets", "select", "selectors", "serial", "shutil", "signal", "socket", "sqlite3", "sqlite_utils", "ssl"}
    | {"subprocess", "sys", "tempfile", "termios", "threading", "time", "tty", "urllib.request", "uuid", "websocket"}
    | {"websockets", "zmq", "minimalmodbus", "pymodbus"}
    | {
        "bus.chance",
        "bus.clock",
        "bus.database",
        "bus.journal",
        "bus.logs",
        "bus.mailbox",
        "bus.node",
        "bus.observer",
        "bus.process",
    }
    | {"bus.runtime", "bus.sockets", "bus.streams", "services.hardware.port", "services.hardware.runner"}
)
PURE_NAMES = frozenset({"bus.logs.utc_text", "bus.logs.parse", "bus.logs.line"})
"""Functions without I/O in modules that have it."""
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "breakpoint"})
IMPURE_ATTRIBUTES = frozenset({"now", "utcnow", "today"})
"""Of datetime: a clock."""
MACHINE_PATH = re.compile(r"""["'\s=](/home/|/root/|/Users/|/work/|/tmp/)""")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def trees(paths: list[Path]) -> Iterator[tuple[Path, ast.Module, str]]:
    """Path, syntax tree and text of each file."""
    for path in paths:
        yield path, *_parsed(path)


@cache
def _parsed(path: Path) -> tuple[ast.Module, str]:
    text = path.read_text(encoding="utf-8")
    return ast.parse(text), text


def place(path: Path, node: ast.AST | None = None) -> str:
    """`file:line`, as editors understand it."""
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All of them, methods and inner ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def lines_without_docstring(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From the def to the end."""
    assert function.end_lineno is not None
    total = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        assert first.end_lineno is not None
        total -= first.end_lineno - first.lineno + 1
    return total


def told(breaches: list[str], rule: str) -> None:
    """Fail with one line for each breach."""
    assert not breaches, f"{rule}:\n" + "\n".join(breaches)


def test_functions_are_short() -> None:
    found = [
        f"{place(path, function)} {function.name} has {lines_without_docstring(function)} lines"
        for path, tree, _ in trees(PRODUCT + TESTS)
        for function in functions(tree)
        if lines_without_docstring(function) > FUNCTION_LINES_MAX
    ]
    told(found, f"a function has at most {FUNCTION_LINES_MAX} lines without its docstring")


def test_modules_are_short() -> None:
    found = [
        f"{place(path)} has {len(text.splitlines())} lines"
        for path, _, text in trees(PRODUCT + TESTS)
        if len(text.splitlines()) > (MODULE_LINES_MAX if path in PRODUCT else TEST_LINES_MAX)
    ]
    told(found, f"a module has at most {MODULE_LINES_MAX} lines")


def test_functions_take_few_parameters() -> None:
    found = []
    for path, tree, _ in trees(PRODUCT):
        for function in functions(tree):
            arguments = function.args
            positional = [a for a in arguments.posonlyargs + arguments.args if a.arg not in ("self", "cls")]
            count = len(positional) + len(arguments.kwonlyargs)
            if f"{path.relative_to(ROOT)} {function.name}" in PRESCRIBED:
                continue
            if count > PARAMETERS_MAX or len(positional) > POSITIONAL_MAX:
                text = f"takes {count} parameters, {len(positional)} of them by position"
                found.append(f"{place(path, function)} {function.name} {text}")
    told(found, f"at most {PARAMETERS_MAX} parameters, {POSITIONAL_MAX} of them by position")


def test_modules_say_what_they_are_for() -> None:
    found = [
        place(path)
        for path, tree, text in trees(PRODUCT + TESTS)
        if text.strip() and len(ast.get_docstring(tree) or "") < 20 and path.name not in ("conftest.py",)
    ]
    told(found, "a module opens with its purpose")


def test_modules_of_the_product_say_what_they_own_and_what_they_do_not() -> None:
    found = []
    for path, tree, _ in trees(PRODUCT):
        text = ast.get_docstring(tree) or ""
        if path.name != "__init__.py" and functions_or_classes(tree) and not ("Owns" in text and "oes not" in text):
            found.append(place(path))
    told(found, "a docstring says what the module owns, and what it deliberately does not do")


def functions_or_classes(tree: ast.Module) -> list[ast.stmt]:
    """What a module defines at its top."""
    return [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]


def test_public_functions_and_classes_have_docstrings() -> None:
    found = [
        f"{place(path, node)} {node.name}"
        for path, tree, _ in trees(PRODUCT)
        for node in public_definitions(tree)
        if ast.get_docstring(node) is None and not any(_is_overload(d) for d in getattr(node, "decorator_list", ()))
    ]
    told(found, "public functions and classes say units, ranges, errors, clause")


def public_definitions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Functions and classes at the top of a module, and the methods of those classes, without a leading underscore."""
    for node in functions_or_classes(tree):
        assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        if node.name.startswith("_"):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)) and not inner.name.startswith("_"):
                    yield inner


def _is_overload(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Name) and decorator.id == "overload"


def pure_modules() -> list[Path]:
    """Every core, and what the list names."""
    return sorted({*ROOT.glob("services/**/core.py"), *(ROOT / name for name in PURE)})


def test_every_pure_module_is_there() -> None:
    told([str(path.relative_to(ROOT)) for path in pure_modules() if not path.exists()], "listed as pure, but not there")


@pytest.mark.parametrize("path", [path for path in pure_modules() if path.exists()], ids=lambda p: str(p.relative_to(ROOT)))
def test_a_pure_module_touches_nothing(path: Path) -> None:
    """Style §1: no I/O, clock, randomness, threads or logging; nor a module that has them."""
    ((_, tree, _),) = trees([path])
    found = []
    for node in ast.walk(tree):
        for name in impure_imports(node):
            found.append(f"{place(path, node)} imports {name}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            found.append(f"{place(path, node)} calls {node.func.id}()")
        if isinstance(node, ast.Attribute) and node.attr in IMPURE_ATTRIBUTES and _is_datetime(node.value):
            found.append(f"{place(path, node)} reads a clock: {ast.unparse(node)}")
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            found.append(f"{place(path, node)} keeps state outside of its state")
    told(found, "a pure module decides, and touches nothing")


def imported(node: ast.AST) -> list[str]:
    """Full names of what a statement imports, both as module and as something in it."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def impure_imports(node: ast.AST) -> list[str]:
    """What a statement imports that has I/O, clock, randomness, threads or logging."""
    names = imported(node)
    if len(names) > 1 and PURE_NAMES.issuperset(names[1:]):
        return []
    return [name for name in names if name in IMPURE_IMPORTS or name.split(".")[0] in IMPURE_IMPORTS]


def _is_datetime(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("datetime", "date")


def test_pure_modules_import_no_module_of_ours_that_is_not_pure() -> None:
    """One step further: what a core imports from its own service is pure too."""
    pure = {path for path in pure_modules() if path.exists()}
    found = []
    for path, tree, _ in trees(sorted(pure)):
        for node in ast.walk(tree):
            for name in imported(node):
                source = ROOT / Path(*name.split(".")).with_suffix(".py")
                if name.startswith("services.") and source.exists() and source not in pure:
                    found.append(f"{place(path, node)} imports {name}, which is not known to be pure")
    told(found, "what a pure module imports is pure")


def test_only_the_outer_loop_catches_everything() -> None:
    found = []
    for path, tree, _ in trees(PRODUCT + TESTS):
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                found.append(f"{place(path, node)} catches without saying what")
            broad = isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name) and node.type.id == "Exception"
            if broad and path in PRODUCT and path.relative_to(ROOT).as_posix() not in OUTER_LOOPS:
                found.append(f"{place(path, node)} catches Exception")
    told(found, "no bare except; Exception is caught in the outer loop of a shell only")


def test_tests_do_not_sleep() -> None:
    found = [
        place(path, node)
        for path, tree, _ in trees(TESTS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep")
    ]
    told(found, "tests wait for conditions, with a deadline")


def test_nothing_is_left_for_later_and_no_machine_is_named() -> None:
    found = []
    for path in [*PRODUCT, *TESTS, *ROOT.glob("deploy/**/*.*"), ROOT / "README.md", ROOT / "Makefile", ROOT / "setup.cfg"]:
        if path == Path(__file__) or path.suffix == ".pyc":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if UNFINISHED.search(line) or MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number} {line.strip()[:80]}")
    told(found, "no unfinished work, no path of somebody's machine")


def test_no_dataclasses_and_asyncio_only_where_no_board_pays_for_it() -> None:
    """Design §8: asyncio alone costs 11 MB in each process."""
    found = [
        f"{place(path, node)} imports {name}"
        for path, tree, _ in trees(PRODUCT)
        for node in ast.walk(tree)
        for name in imported(node)
        if name.split(".")[0] in ("asyncio", "dataclasses") and not path.is_relative_to(ROOT / "services" / "demo")
        if not path.is_relative_to(ROOT / "services" / "simulator")
    ]
    told(found, "no dataclasses, no asyncio")


def test_programs_and_topics_name_the_same_services() -> None:
    """Style §2: code, table and supervisord's list agree."""
    programs = {program.name for program in PROGRAMS if program.on_bus}
    publishers = {topic.publisher for topic in TOPICS} - {EVERY_SERVICE}
    # What runs only where it is configured has nothing to say that others could need.
    assert publishers == programs - {program.name for program in PROGRAMS if program.section}
    assert {topic.consumer for topic in TOPICS} - {""} <= programs


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_is_a_module_that_runs_under_its_name(program: "object") -> None:
    name, module = program.name, program.module  # type: ignore[attr-defined]
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"there is no module {module}"
    source = spec.origin if not spec.submodule_search_locations else str(ROOT / Path(*module.split("."), "__main__.py"))
    assert source is not None
    text = Path(source).read_text(encoding="utf-8")
    runs = rf'(run\(|prepare_process\(|set_up\(|SERVICE = |NAME = )"{name}"'
    assert re.search(runs, text), f"{source} runs under another name"


@pytest.mark.parametrize("program", [program.name for program in PROGRAMS if program.on_bus and program.name != "broker"])
def test_a_service_names_its_topics_at_the_top(program: str) -> None:
    """Style §2: each topic that it owns stands in the docstring of its `__main__`, in full or by its first part."""
    path = ROOT / "services" / program / "__main__.py"
    if not path.exists():
        pytest.fail(f"{path.relative_to(ROOT)} is missing")
    ((_, tree, _),) = trees([path])
    text = ast.get_docstring(tree) or ""
    owned = [topic.name for topic in TOPICS if topic.publisher == program]
    told([name for name in owned if not _named(name, text)], f"{place(path)} does not name the topics that it owns")


def _named(topic: str, text: str) -> bool:
    parts = topic.removesuffix(".").split(".")
    prefixes = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return any(re.search(rf"\b{re.escape(prefix)}\b", text) for prefix in prefixes)
