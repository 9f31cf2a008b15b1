"""C kernels of our own: from the wheel where it brought them for this CPU, else compiled where they run, at first use.

To compile them takes Linux or macOS and a C compiler of GCC's or Clang's kind (`CC`, else `gcc` or `cc`). Their threads are
those of the OpenMP that torch carries (`rnncore.kernels.loading`).

What was compiled is kept under a name that tells the digest of what it holds, where nobody else may write: a library that
was cut ends the process that loads it without a word, and one of another user would do whatever that user likes.
"""

import contextlib
import hashlib
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

from rnncore.errors import Unavailable
from rnncore.files import others_may_write, process_folder, user_cache, whole_file
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

# Seconds that a compiler may take to say its version, and to compile: a hundred times what they take on a slow machine.
_ASKED_S, _COMPILED_S = 30.0, 300.0

# Hexadecimal digits of a digest in a name.
_DIGITS = 16

# Where a wheel has its libraries: a folder beside this file, which a source checkout lacks.
SHIPPED = "shipped"

# Of each kernel that was asked for in this process, by the name of its source: what it is, or why there is none.
implementations: dict[str, str] = {}


def compiled_library(name: str) -> Path:
    """Return the shared library of a C source for this CPU: a wheel's own, else compiled, in a second or two, and kept.

    What is compiled is kept in the user's cache, for this source, compiler and CPU; where that cannot be written, or others
    may write there, as long as the process.

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
    version = _ran([*command, "-dumpfullversion", "-dumpversion"], limit_s=_ASKED_S)
    identity = _digest("\n".join([source, shlex.join(command), flags, version, of_cpu]).encode(errors="surrogateescape"))
    folder, _ = _folder()
    return _kept(folder, f"{name}-{identity}") or _compiled(folder, f"{name}-{identity}", command, flags, source)


def origin_of(library: Path) -> str:
    """Return where a library comes from, for a reader."""
    if library.parent.name == SHIPPED:
        return "of the wheel"
    folder, why = _folder()
    return f"compiled for this process alone, as {why}" if why and library.parent == folder else "compiled here"


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


def _folder() -> tuple[Path, str | None]:
    """Return where compiled libraries are kept; and where it is a folder of this process alone, why."""
    kept = user_cache()
    if kept is None:
        return process_folder(), "no cache can be written"
    if writable := others_may_write(kept):
        return process_folder(), f"others may write {writable}"
    # What it leads to: what a link on the way is exchanged for later is not looked at.
    return kept.resolve(), None


def _kept(folder: Path, stem: str) -> Path | None:
    """Return what was compiled before, if it is as it was written; what is not is removed."""
    for path in sorted(folder.glob(f"{stem}-*.so")):
        # Another process may remove it meanwhile.
        with contextlib.suppress(FileNotFoundError):
            if others_may_write(path):
                continue
            if path.name == _kept_name(stem, path.read_bytes()):
                return path
            path.unlink()
    return None


def _compiled(folder: Path, stem: str, command: list[str], flags: str, source: str) -> Path:
    """Compile a library, and keep it in a folder, durably."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "kernels.so"
        _compile(command, flags, source, made)
        content = made.read_bytes()
    library = folder / _kept_name(stem, content)
    with whole_file(library, mode=0o644, is_durable=True) as temporary:
        temporary.write_bytes(content)
    return library


def _kept_name(stem: str, content: bytes) -> str:
    return f"{stem}-{_digest(content)}.so"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _compiler() -> list[str]:
    """Return the command of the compiler.

    Raises:
        Unavailable: If the system is none that they are compiled on, or has no compiler.
    """
    if platform.system() not in _LINKED:
        raise Unavailable(f"they are compiled on {' and '.join(_LINKED)} alone, and this is {platform.system()}. Use Linux")
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    # Bytes that are no text are shown as such.
    where = f"of the name {_shown(compiler)} (CC)" if compiler else "(gcc or cc)"
    try:
        command = shlex.split(compiler) if compiler else []
    except ValueError as error:
        raise Unavailable(f"the C compiler {where} cannot be read ({error}). Name another compiler by CC") from error
    if not command or not shutil.which(command[0]):
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


def _ran(command: list[str], given: str = "", limit_s: float = _COMPILED_S) -> str:
    """Return what a command prints.

    Args:
        command: Its words.
        given: What it reads.
        limit_s: Seconds that it may take; then it is ended, with all that it started.

    Raises:
        Unavailable: If it fails, or takes longer; with what to do, without the last full stop.
        OSError: If it cannot be run.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    with process:
        try:
            said, complaints = process.communicate(given, timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            raise Unavailable(
                f"{_shown(shlex.join(command))} did not end within {limit_s:g} s. Name another compiler by CC"
            ) from error
        finally:
            if process.returncode is None:
                # macOS refuses where all of the group have ended.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        why = f" ({complaints.strip()[-200:]})" if complaints.strip() else ""
        raise Unavailable(
            f"{_shown(shlex.join(command))} failed with exit code {process.returncode}{why}. Fix what it names, or name "
            "another compiler by CC"
        )
    return said


def _shown(text: str) -> str:
    """Return text whose bytes in no encoding, as a variable of the environment may have, are written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
