"""C kernels of our own: from the wheel where it brought them for this CPU, else compiled where they run, at first use.

To compile them takes Linux or macOS and a C compiler of GCC's or Clang's kind (`CC`, else `gcc` or `cc`). Their threads are
those of the OpenMP that torch carries (`rnncore.kernels.loading`).
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
from rnncore.kernels.levels import cpu_flags, kept_to, machine_levels, require_vectors, usable_levels

# Contracting to fused multiply-adds is as exact as the rest. Of OpenMP a compiler needs the `simd` pragmas alone.
_FLAGS = "-O3 {cpu} -fno-math-errno -fno-trapping-math -ffp-contract=fast -fopenmp-simd -fPIC"
_X86_FLAGS = " -mprefer-vector-width=512"

# By LEVEL_ENV; else for the CPU at hand.
_LEVELS = {"avx2": "haswell", "avx512": "skylake-avx512"}

# Of a linker. No library of OpenMP is among them: a second pool of threads would spin beside torch's. On Linux what torch's
# does not give out is then missing at once, and not in the first call.
_LINKED = {
    "Linux": "-shared -Wl,-z,now -nodefaultlibs -lm -lc",
    "Darwin": "-dynamiclib -Wl,-undefined,dynamic_lookup",
}

# Where a wheel has its libraries: a folder beside this file, which a source checkout lacks.
SHIPPED = "shipped"


def compiled_library(name: str) -> Path:
    """Return the shared library of a C source for this CPU: a wheel's own, else compiled, in a second or two, and kept.

    What is compiled is kept in the user's cache, for this source, compiler and CPU; where that cannot be written, as long as
    the process.

    Args:
        name: Of the source beside this file, without `.c`.

    Raises:
        Unavailable: If the CPU, the system or its compiler cannot do it; with what to do, without the last full stop.
        OSError: If a file cannot be written or the compiler cannot be run.
    """
    require_vectors()
    if shipped := _shipped_library(name):
        return shipped
    command = _compiler()
    source = _source(f"{name}.c")
    flags = _flags()
    # What the CPU can do: a home on several machines keeps a library for each.
    of_cpu = " ".join(sorted(cpu_flags()))
    identity = "\n".join([source, shlex.join(command), flags, _ran([*command, "-dumpfullversion", "-dumpversion"]), of_cpu])
    library = cache_folder() / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    if not library.is_file():
        _compile(command, flags, source, library)
    return library


def compile_levels(folder: Path) -> list[Path]:
    """Compile every kernel for each level of this kind of machine, as a wheel has them; return the libraries.

    Args:
        folder: Where to put them.

    Raises:
        Unavailable: If there are no levels for this system, or its compiler cannot do one.
        OSError: If a file cannot be written or the compiler cannot be run.
    """
    if platform.system() != "Linux" or not (levels := machine_levels()):
        raise Unavailable(f"wheels have none for {platform.system()} on {platform.machine()}. Compile them at first use")
    command = _compiler()
    libraries = []
    for source in sorted(Path(__file__).parent.glob("*.c")):
        for level in levels:
            libraries.append(folder / _shipped_name(source.stem, level.name))
            _compile(command, _flags(level.options), _source(source.name), libraries[-1])
    return libraries


def _shipped_library(name: str) -> Path | None:
    """Return what a wheel brought for this CPU: the widest that it can run; None in a source checkout."""
    folder = Path(__file__).parent / SHIPPED
    paths = (folder / _shipped_name(name, level.name) for level in usable_levels())
    return next((path for path in paths if path.is_file()), None)


def _shipped_name(name: str, level: str) -> str:
    return f"{name}-{level}.so"


def _compiler() -> list[str]:
    """Return the command of the compiler.

    Raises:
        Unavailable: If the system is none that they are compiled on, or has no compiler.
    """
    if platform.system() not in _LINKED:
        raise Unavailable(f"they are compiled on {' and '.join(_LINKED)} alone, and this is {platform.system()}. Use Linux")
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    command = shlex.split(compiler) if compiler else []
    if not command or not shutil.which(command[0]):
        where = f"of the name {compiler} (CC)" if compiler else "(gcc or cc)"
        raise Unavailable(f"there is no C compiler {where}. Install GCC, or name another compiler by CC")
    return command


def _source(name: str) -> str:
    """Return a source with its headers in place of their includes: the text that is compiled is then all that is hashed."""
    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    return re.sub(r'^#include "(.+)"\n', lambda include: _source(include[1]), text, flags=re.MULTILINE)


def _flags(options: str = "") -> str:
    """Return the flags of the compiler for a level's options, or for the CPU at hand and the level that it is kept to."""
    if platform.machine() != "x86_64":
        return _FLAGS.format(cpu=options or "-mcpu=native")
    return _FLAGS.format(cpu=options or f"-march={_LEVELS.get(kept_to(), 'native')}") + _X86_FLAGS


def _compile(command: list[str], flags: str, source: str, library: Path) -> None:
    """Compile and link *library*, whole or not at all."""
    with tempfile.TemporaryDirectory() as folder, whole_file(library) as temporary:
        made = f"{folder}/kernels.o"
        _ran([*command, *flags.split(), "-c", "-x", "c", "-", "-o", made], source)
        _ran([*command, made, "-o", str(temporary), *_LINKED[platform.system()].split()])


def _ran(command: list[str], given: str = "") -> str:
    ran = subprocess.run(command, input=given, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if ran.returncode:
        said = f" ({ran.stderr.strip()[-200:]})" if ran.stderr.strip() else ""
        raise Unavailable(
            f"{shlex.join(command)} failed with exit code {ran.returncode}{said}. Fix what it names, or name another "
            "compiler by CC"
        )
    return ran.stdout
