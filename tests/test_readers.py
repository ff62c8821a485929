"""Every file of a workspace and of a saved detector, changed anywhere: refused in one sentence by
what opens or verifies it, or read as it was.
"""

from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigi_core.detectors import train
from aigi_core.detectors.detector import Detector
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace
from precompute.__main__ import main
from tests.factory import make_workspace

FILES = (
    "workspace.json",
    "images.parquet",
    "embeddings.npy",
    "heads.npy",
    "ln_post.npy",
    "decomposition.npz",
)
FEW = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def changes(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Bytes taken out, put in or overwritten at some place, or the end cut off."""
    at, length = draw(st.floats(0, 1)), draw(st.integers(0, 12))
    new, cut = draw(st.binary(max_size=12)), draw(st.booleans())

    def change(content: bytes) -> bytes:
        start = int(at * len(content))
        return content[:start] + new + (b"" if cut else content[start + length :])

    return change


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("readers") / "w", per_class=12)


def changed(file: Path, change: Callable[[bytes], bytes]) -> Iterator[bool]:
    """The file with the change, whether it has changed; then as it was."""
    before = file.read_bytes()
    after = change(before)
    file.write_bytes(after)
    try:
        yield after != before
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize("name", FILES)
@FEW
@given(change=changes())
def test_a_changed_workspace_is_refused_or_right(
    path: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    right = np.array(Workspace.open(path).embeddings)
    said = StringIO()
    for differs in changed(path / name, change):
        try:
            embeddings = np.array(Workspace.open(path).embeddings)
        except AigiError as error:
            assert str(error)
            embeddings = right
        with redirect_stdout(said), redirect_stderr(said):
            verified = main(["verify", str(path)]) == 0
        assert "Traceback" not in said.getvalue()
        if verified:
            assert np.array_equal(embeddings, right), said.getvalue()
            assert not differs or name == "workspace.json"


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@FEW
@given(change=changes())
def test_a_changed_detector_is_refused_or_loads(
    path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    change: Callable[[bytes], bytes],
) -> None:
    stem = path.parent / "detector"
    if not stem.with_suffix(".json").exists():
        workspace = Workspace.open(path)
        train(workspace, workspace.domains.generators[:1])[0].save(stem)
    for _ in changed(stem.with_suffix(suffix), change):
        try:
            Detector.load(stem)
        except AigiError as error:
            assert str(error)
