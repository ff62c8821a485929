"""Work in another process: the same results, by workspaces that travel as their paths."""

from collections.abc import Iterator

import numpy as np
import pytest

from aigi_core.detectors.detector import LinearDetector
from aigi_core.detectors.methods import METHODS
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace
from ui.toolkit import apart


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(apart, "_processes", [])
    monkeypatch.setattr(apart, "LOADED", ())
    apart.begin()
    yield
    apart._processes[0].close()


def test_detectors_of_another_process_are_the_same(begun: None, synthetic: Workspace) -> None:
    how, names = METHODS["logistic"], synthetic.domains.generators[:2]
    here: list[int] = []

    def work(workspace: Workspace) -> object:  # cannot be handed over: done here
        here.append(len(workspace.domains))
        return workspace

    there = apart.apart(how.train, synthetic, names, None, None)
    for one, other in zip(there, how.train(synthetic, names), strict=True):
        assert isinstance(one, LinearDetector) and isinstance(other, LinearDetector)
        assert np.array_equal(one.weights, other.weights) and one.bias == other.bias
        assert one.provenance == other.provenance
    assert apart.apart(work, synthetic) is synthetic and here == [len(synthetic.domains)]


def test_errors_are_the_functions_own(begun: None, synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="no generator 'nobody'"):
        apart.apart(METHODS["logistic"].train, synthetic, ["nobody"], None, None)
