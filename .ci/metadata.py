"""Dependencies of the package, read from the requirements files, which are their one home."""

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class RequirementsHook(MetadataHookInterface):
    """``requirements.txt`` as dependencies, each ``requirements-EXTRA.txt`` as an extra."""

    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        metadata["dependencies"] = _pins(root / "requirements.txt")
        metadata["optional-dependencies"] = {
            file.stem.removeprefix("requirements-"): _pins(file)
            for file in sorted(root.glob("requirements-*.txt"))
            if file.stem != "requirements-dev"
        }


def _pins(file: Path) -> list[str]:
    lines = [line.partition("#")[0].strip() for line in file.read_text("utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("-")]
