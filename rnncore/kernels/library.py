"""C kernels of our own, compiled where they run, at first use.

Needed are Linux, a C compiler of GCC's kind (`CC`, else `gcc` or `cc`), and a torch whose library gives out an OpenMP, as
the wheels do.
"""

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

from rnncore.errors import Unavailable
from rnncore.files import cache_folder, whole_file

# Contracting to fused multiply-adds is as exact as the rest.
_FLAGS = "-O3 -march={cpu} -fno-math-errno -fno-trapping-math -ffp-contract=fast -fopenmp -fPIC"
_X86_FLAGS = " -mprefer-vector-width=512"

# The level that torch's own kernels are kept to, ours keep to as well: then the two are of one kind. Else ours are compiled
# for the CPU at hand.
LEVEL_ENV = "ATEN_CPU_CAPABILITY"
_LEVELS = {"default": "x86-64", "avx2": "haswell", "avx512": "skylake-avx512"}


def compiled_library(name: str) -> Path:
    """Return the shared library of a C source; the first call on a machine compiles it, in a few seconds.

    It is kept in the user's cache, for this source, compiler and CPU; where that cannot be written, as long as the process.

    Args:
        name: Of the source beside this file, without `.c`.

    Raises:
        Unavailable: If the system or its compiler cannot do it; with what to do, without the last full stop.
        OSError: If a file cannot be written or the compiler cannot be run.
    """
    if platform.system() != "Linux":
        raise Unavailable(f"they are compiled on Linux alone, and this is {platform.system()}. Use Linux")
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    command = shlex.split(compiler) if compiler else []
    if not command or not shutil.which(command[0]):
        where = f"of the name {compiler} (CC)" if compiler else "(gcc or cc)"
        raise Unavailable(f"there is no C compiler {where}. Install GCC, or name another compiler by CC")
    source = _source(f"{name}.c")
    flags = _flags()
    # What the CPU can do: a home on several machines keeps a library for each.
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    of_cpu = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    identity = "\n".join([source, shlex.join(command), flags, _ran([*command, "-dumpfullversion"]), of_cpu])
    library = cache_folder() / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    if not library.is_file():
        _compile(command, flags, source, library)
    return library


def _source(name: str) -> str:
    """Return a source with its headers in place of their includes: the text that is compiled is then all that is hashed."""
    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    return re.sub(r'^#include "(.+)"\n', lambda include: _source(include[1]), text, flags=re.MULTILINE)


def _flags() -> str:
    if platform.machine() != "x86_64":
        return _FLAGS.format(cpu="native")
    return _FLAGS.format(cpu=_LEVELS.get(os.environ.get(LEVEL_ENV, "").lower(), "native")) + _X86_FLAGS


def _compile(command: list[str], flags: str, source: str, library: Path) -> None:
    """Compile and link *library*, whole or not at all."""
    with tempfile.TemporaryDirectory() as folder, whole_file(library) as temporary:
        made = f"{folder}/kernels.o"
        _ran([*command, *flags.split(), "-c", "-x", "c", "-", "-o", made], source)
        # Linked without the compiler's own OpenMP: a second pool of threads would spin beside torch's. What torch's library
        # does not give out is then missing at once, and not in the first call.
        _ran([*command, "-shared", "-Wl,-z,now", made, "-o", str(temporary), "-nodefaultlibs", "-lm", "-lc"])


def _ran(command: list[str], given: str = "") -> str:
    ran = subprocess.run(command, input=given, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if ran.returncode:
        said = f" ({ran.stderr.strip()[-200:]})" if ran.stderr.strip() else ""
        raise Unavailable(
            f"{shlex.join(command)} failed with exit code {ran.returncode}{said}. Fix what it names, or name another "
            "compiler by CC"
        )
    return ran.stdout
