"""Hatchling's hook: a wheel has the kernels inside, for each level of CPU, where the compiler at hand can make them all.

Where it cannot, the wheel is a pure one, whose kernels are compiled at first use. RNNCORE_REQUIRE_KERNELS=1 makes that an
error. An editable install has none: its sources change.
"""

import os
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))

from rnncore.errors import Unavailable
from rnncore.kernels.library import SHIPPED, compile_levels

REQUIRE_ENV = "RNNCORE_REQUIRE_KERNELS"


class KernelsInside(BuildHookInterface[Any]):
    """Compiles the kernels before a wheel is made, and puts them beside their sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the libraries, and the tag of a wheel for this platform and any Python 3, whose ABI they do not use."""
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory()
        try:
            libraries = compile_levels(Path(self._folder.name))
        except (Unavailable, OSError) as error:
            if os.environ.get(REQUIRE_ENV) == "1":
                raise
            self.app.display_warning(f"A wheel without kernels: {error}.")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        build_data["force_include"].update({str(path): f"rnncore/kernels/{SHIPPED}/{path.name}" for path in libraries})

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled; the wheel has it."""
        if version != "editable":
            self._folder.cleanup()
