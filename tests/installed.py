"""Use an installed wheel as where there is no compiler: train, forecast, and fail unless the kernels that it brought did it.

    ENVIRONMENT/bin/python tests/installed.py

The commands see no program but those of the environment, and a compiler of a name that does not exist.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

COMMANDS = (
    "train --preset fast --data synthetic --horizon 24 --max-steps 20 --out model.safetensors",
    "evaluate model.safetensors --data synthetic --runtime rnncore --no-baselines",
)


def main() -> int:
    """Run the commands, say what was loaded, and return an exit code."""
    programs = Path(sys.executable).parent
    os.environ.update(PATH=str(programs), CC="/nowhere/cc")
    # Only now: a compiler is looked for by the names above.
    from rnncore.kernels import library
    from rnncore.kernels.forward import forward_kernel
    from rnncore.kernels.layers import fused_kernels

    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        shipped = Path(library.__file__).parent / library.SHIPPED
        paths = [library.compiled_library(name) for name in ("forward", "train")]
        print(f"{shipped} has {', '.join(sorted(path.name for path in shipped.iterdir()))}.")
        print(f"For this CPU: {', '.join(path.name for path in paths)}.")
        if [path.parent for path in paths] != [shipped] * len(paths):
            print(f"They are not of the wheel: {paths}.")
            return 1
        # Each is held against torch as it is loaded; one that is refused ends this.
        forward_kernel()
        fused_kernels()
        for command in COMMANDS:
            print(f"$ rnncore {command}", flush=True)
            subprocess.run([str(programs / "rnncore"), *command.split()], cwd=folder, check=True)
        if compiled := sorted(path.name for path in Path(folder).rglob("*.so")):
            print(f"The commands compiled {', '.join(compiled)}.")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
