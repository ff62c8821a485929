"""The rules of the house: who may import whom, and what pages may load."""

import ast
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from benchmarks._small_workspace import make_workspace
from tests.conftest import ROOT
from tests.source_files import files, imports

ROOMS = (
    (
        *("_faiss", "_halves", "arguments", "assets", "commands"),
        *("errors", "exports", "reprs", "statements"),
    ),
    (
        "archives",
        "remote",
        "capabilities",
        "encodings",
        "head_maps",
        "image_files",
        "images",
        "intervals",
        "manifest",
        "previews",
        "processes",
        "resampling",
        "results",
        "scores",
        "significance",
        "soundness",
        "splits",
        "stored_features",
        "terminal",
        "winner",
        "vectors",
        "nearest",
        "perturb",
        "record",
        "workspace",
    ),
    ("overview", "metrics", "clip", "heads"),
    ("detectors",),
    ("transfer", "attribution", "geometry", "explain", "audit", "stress", "calibration"),
    ("inspection",),
    ("figures",),
    ("cli",),
)
"""Rooms of aigi_core from the bottom up; each may import itself, its neighbours on the same floor,
and those below.
"""


UI_ROOMS = (("toolkit",), ("results",), ("bodies",), ("beginnings",), ("preparation",))
"""Rooms of ui from the bottom up. ``ui`` itself is the toolkit's front door."""
PRECOMPUTE_ROOMS = (
    ("pool", "engine", "on_ray", "options", "shares"),
    ("ingest",),
    ("encode", "import_scores"),
    (
        "attribution",
        "audit",
        "detectors",
        "finetune",
        "generate",
        "growth",
        "import_detector",
        "map",
        "methods",
        "perturb",
        "quality",
        "text",
        "verify",
    ),
    ("search", "words"),
    ("align", "align_demo", "build", "demo"),
)
"""Jobs from the bottom up: what a later one may call of an earlier one."""


SOURCES = ("aigi_core", "precompute", "ui", "pages", "reports", "benchmarks", "app.py")
"""All Python outside the tests."""


def importers(package: str, where: list[Path]) -> set[str]:
    return {
        str(f.relative_to(ROOT))
        for f in where
        if any(n.split(".")[0] == package for n in imports(f))
    }


def test_the_library_knows_no_streamlit() -> None:
    assert importers("streamlit", files("aigi_core", "precompute", "reports")) == set()


@pytest.mark.parametrize("package", ["torch", "open_clip", "timm"])
def test_only_clip_and_precompute_import_torch(package: str) -> None:
    elsewhere = importers(package, files("aigi_core", "ui", "pages", "app.py"))
    shortens = {"aigi_core/_halves.py"} if package == "torch" else set()  # imported when needed
    assert {f for f in elsewhere if not f.startswith("aigi_core/clip/")} == shortens


def test_at_most_one_module_imports_torchvision() -> None:
    assert (
        len(
            importers(
                "torchvision",
                files("aigi_core", "precompute", "ui", "pages", "benchmarks", "app.py"),
            )
        )
        <= 1
    )


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (("json.loads", "json.load"), ["aigi_core/record.py"]),
        (
            ("pd.read_parquet", "parquet.ParquetFile", "pq.ParquetFile", "pq.read_table"),
            # pictures in Parquet are read one by one
            ["aigi_core/archives.py", *2 * ["aigi_core/soundness.py"]],
        ),
    ],
)
def test_files_are_read_within_limits(names: Sequence[str], places: Sequence[str]) -> None:
    """JSON nested too deeply is no ValueError of ``json.loads``, and a small Parquet file can name
    billions of rows: one place sees to each."""
    calls = [
        file.relative_to(ROOT).as_posix()
        for file in files("aigi_core", "precompute", "ui", "pages")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in names
        and not ast.unparse(node.args[0]).startswith("json.dumps(")  # a copy
    ]
    assert sorted(calls) == places


@pytest.mark.parametrize(
    ("package", "rooms"),
    [("aigi_core", ROOMS), ("ui", UI_ROOMS), ("precompute", PRECOMPUTE_ROOMS)],
)
def test_dependence_goes_one_way(package: str, rooms: tuple[tuple[str, ...], ...]) -> None:
    floor = {room: i for i, names in enumerate(rooms) for room in names}
    wrong = []
    for file in files(package):
        room = file.relative_to(ROOT / package).parts[0].removesuffix(".py")
        if room.startswith("__"):
            continue
        assert room in floor, f"{package}/{room} is on no floor: add it to the rooms above"
        for name in imports(file):
            parts = name.split(".")
            if parts[0] == package and len(parts) > 1 and floor.get(parts[1], 0) > floor[room]:
                wrong.append(f"{file.relative_to(ROOT)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("package", ["aigi_core", "ui", "precompute", "reports", "benchmarks"])
def test_modules_import_each_other_in_no_circle(package: str) -> None:
    """Those inside functions count, too; those for types alone do not."""
    modules = {
        ".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f
        for f in files(package)
    }
    graph = {
        name: {n for n in _imports_that_run(f) if n in modules and n != name}
        for name, f in modules.items()
    }
    with_packages = {name: on - _packages_of(name) for name, on in graph.items()}
    TopologicalSorter(with_packages).prepare()


def _imports_that_run(file: Path) -> set[str]:
    tree = ast.parse(file.read_text("utf-8"))
    for_types = {
        inner
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in node.body
    }
    names = set()
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_tests_import_what_there_is() -> None:
    """Types of tests are not checked, so a name that moved would be missed where a test needs it
    late.
    """
    missing = [
        f"{file.relative_to(ROOT)}: {node.module}.{alias.name}"
        for file in files("tests")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        if node.module.split(".")[0] in ("tests", *SOURCES)
        for alias in node.names
        if not _defines(node.module, alias.name)
    ]
    assert missing == []


def _defines(module: str, name: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    if (path / name).is_dir() or (path / f"{name}.py").is_file():
        return True
    file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
    return file.is_file() and bool({name, "__getattr__"} & _names_of(file))


@cache
def _names_of(file: Path) -> set[str]:
    """Names that a module binds or assigns anywhere: generous, and enough to miss what is gone."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    return names


def _packages_of(module: str) -> set[str]:
    parts = module.split(".")
    return {".".join(parts[:i]) for i in range(1, len(parts))}


def test_nothing_below_imports_the_app() -> None:
    for room in ("ui", "pages", "app"):
        assert importers(room, files("aigi_core", "precompute", "reports")) == set()


def test_helpers_of_tests_stand_in_helper_modules() -> None:
    """No test module is imported, and nothing outside the tests imports them."""
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files("tests")
        for name in imports(file)
        if re.search(r"^tests\.(.*\.)?test_", name)
    ]
    assert wrong == []
    assert importers("tests", files(*SOURCES)) == set()


def test_an_audit_of_a_folder_loads_no_torch(tmp_path: Path) -> None:
    path = make_workspace(tmp_path / "w", per_class=20)
    code = (
        "import sys\n"
        "from aigi_core.audit.report import audit\n"
        "from aigi_core.workspace import Workspace\n"
        f"result = audit(Workspace.open({str(path)!r}), draws=9)\n"
        "assert len(result.verdicts) == 4\n"
        "print({'torch', 'open_clip', 'torchvision', 'timm'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout.strip().splitlines()[-1:] == ["set()"], done.stdout + done.stderr


def test_no_function_is_longer_than_a_screen_or_two() -> None:
    longest = {
        f"{file.relative_to(ROOT)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for file in files(*SOURCES)
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in longest.items() if lines > 100} == {}


def test_many_arguments_go_by_name() -> None:
    """At most six by position, ``self`` aside."""
    many = {
        f"{file.relative_to(ROOT)}: {node.name}"
        for file in files(*SOURCES)
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and len({a.arg for a in node.args.posonlyargs + node.args.args} - {"self", "cls"}) > 6
    }
    assert many == set()


def test_unrelated_values_have_a_line_each() -> None:
    """``a, b, c = ...`` is for values of one kind, as ``keys[keep], ages[keep], names[keep]``."""
    dense = {
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in files(*SOURCES)
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
        if isinstance(node.targets[0], ast.Tuple) and len(node.value.elts) > 2
        if len({type(value) for value in node.value.elts}) > 1
        or any(isinstance(value, ast.Call) for value in node.value.elts)
        or all(
            isinstance(v, ast.Constant) and not isinstance(v.value, str) for v in node.value.elts
        )
    }
    assert dense == set()


def test_nothing_is_unpickled() -> None:
    where = files("aigi_core", "precompute", "ui", "pages", "app.py")
    for package in ("joblib", "dill", "cloudpickle", "shelve"):
        assert importers(package, where) == set()
    used = {n for f in where for n in imports(f) if n.split(".")[0] == "pickle"}
    assert used <= {
        "pickle",
        "pickle.HIGHEST_PROTOCOL",
        "pickle.Pickler",
        "pickle.PicklingError",
    }  # bytes out, never in
    assert not [f for f in where if re.search(r"^\s*import .*pickle", f.read_text(), re.M)]


def test_what_pages_import_loads_no_torch() -> None:
    """In a fresh process: everything the pages and ui import at their top, then a look at what is
    loaded.
    """
    wanted = sorted(
        {
            n
            for f in files("pages", "ui")
            for n in imports(f)
            if n.split(".")[0] in ("aigi_core", "ui") and n[-1].islower()
        }
    )
    code = (
        "import importlib, sys\n"
        f"for name in {wanted!r}:\n"
        "    try: importlib.import_module(name)\n"
        "    except ModuleNotFoundError as e:\n"
        "        if e.name is None or not name.startswith(e.name): raise\n"
        "print(sorted(set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(ast.literal_eval(done.stdout.strip().splitlines()[-1]))
    assert not loaded & {"torch", "open_clip", "torchvision", "timm"}


COUNT_ARENAS = """
import ctypes, sys
from threading import Barrier, Thread
together = Barrier(9)
def work():
    kept = bytearray(100_000)
    together.wait()
    together.wait()
threads = [Thread(target=work, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
together.wait()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
together.wait()
"""


def test_the_app_computes_on_one_thread_a_session_and_gives_memory_back(tmp_path: Path) -> None:
    code = (
        "import numpy, ui, pyarrow, threadpoolctl; print({p['num_threads'] for p in"
        " threadpoolctl.threadpool_info()}, pyarrow.default_memory_pool().backend_name)"
    )
    ours = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    ours += ("ARROW_DEFAULT_MEMORY_POOL", "MALLOC_ARENA_MAX")
    free = {name: value for name, value in os.environ.items() if name not in ours}
    told = tmp_path / "arenas.xml"
    counted = COUNT_ARENAS if platform.libc_ver()[0] == "glibc" else ""
    done = subprocess.run(
        [sys.executable, "-c", code + counted, str(told)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=free,
        check=False,
    )
    assert done.stdout.strip().splitlines()[-1:] == ["{1} system"], done.stdout + done.stderr
    if counted:
        assert 1 <= told.read_text().count("<heap nr=") <= 3


def test_a_server_is_up_before_anything_heavy_is_loaded() -> None:
    """SciPy's distributions and optimisers, scikit-learn, FAISS and torch take up to two seconds to
    load: only what needs them does.
    """
    code = (
        "import sys, app; print({'scipy.stats', 'scipy.optimize', 'sklearn', 'faiss', 'torch'}"
        " & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout.strip().splitlines()[-1:] == ["set()"], done.stdout + done.stderr
