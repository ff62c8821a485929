"""Examples in docstrings run, the API reference is built from them without a warning, and the
documents name what is there.
"""

import doctest
import pkgutil
import re
import warnings
from importlib import import_module
from pathlib import Path

import pdoc
import pytest

import aigi_core
from tests.conftest import ROOT
from tests.source_files import files

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(aigi_core.__path__, "aigi_core.")
    if not module.name.endswith("__main__")
)
WITH_EXAMPLES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in files("precompute", "reports", "ui")
    if ">>> " in file.read_text("utf-8")
)
"""Modules outside the library whose docstrings hold examples."""
DOCUMENTS = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", MODULES + WITH_EXAMPLES)
def test_examples_in_docstrings_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(import_module(name), optionflags=flags).failed == 0


def test_the_api_reference_is_built_without_a_warning() -> None:
    """A warning means a type that a reader could not follow. Signatures are what can warn; of the
    pages only one is made, since all take half a minute.
    """
    modules = {name: pdoc.doc.Module(import_module(name)) for name in ["aigi_core", *MODULES]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for module in modules.values():
            read_signatures(module)
        page = pdoc.render.html_module(modules["aigi_core.metrics.contract"], modules)
    assert "of_curve" in page and "Images flagged in each of B draws" in page


def read_signatures(space: pdoc.doc.Namespace) -> None:
    """Types of all members of a module or class, as the reference shows them."""
    for member in space.own_members:
        if isinstance(member, pdoc.doc.Function):
            assert str(member.signature)
        elif isinstance(member, pdoc.doc.Variable):
            assert isinstance(member.annotation_str, str)
        elif isinstance(member, pdoc.doc.Class):
            read_signatures(member)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", document.read_text("utf-8"))
    missing = [t for t in targets if "://" not in t and not (document.parent / t).exists()]
    assert missing == []
