"""The emulated device and its driver as shared libraries: compiled once for a source, torch and compiler, and kept."""

import ctypes
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from rnncore.errors import Unavailable
from rnncore.files import cache_folder, whole_file

# Nothing of them is timed.
_FLAGS = ("-O0", "-std=c++20", "-fPIC", "-shared", "-w")

# Which device a process has, by torch's name of its type: CUDA's, or one that torch's source does not have.
KIND_ENV = "EMULATED_DEVICE"
CUDA, OTHER = "cuda", "emulated"

# What pynvml loads.
_DRIVER = "libnvidia-ml.so.1"


def torch_folder() -> Path:
    """Return where torch lies, without importing it: an imported one has already asked which devices there are."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable("torch is not installed. Install it: pip install torch")
    return Path(spec.submodule_search_locations[0])


def kind() -> str:
    """Return the type of the device that this process has."""
    return os.environ.get(KIND_ENV, CUDA)


def device_library(of_type: str) -> Path:
    """Return the library of a device; compiled at the first call, in ten seconds.

    Raises:
        Unavailable: If there is no C++ compiler, this torch has a CUDA of its own, or its headers are other ones.
    """
    version = metadata.version("torch")
    headers, libraries = torch_folder() / "include", torch_folder() / "lib"
    if any(libraries.glob("libtorch_cuda*")):
        raise Unavailable(f"torch {version} has a CUDA of its own. Take its CPU build to emulate one")
    defined = ("-DEMULATED_OTHER",) if of_type == OTHER else ()
    includes = (f"-I{headers}", f"-I{headers / 'torch/csrc/api/include'}", *defined)
    return _compiled("device.cpp", version, includes, (f"-L{libraries}", "-ltorch_cpu", "-lc10"), "device.so")


@cache
def load_device() -> ctypes.CDLL:
    """Load the library of the device: before torch is imported, or as the first thing of its import.

    Raises:
        Unavailable: As `device_library`.
        RuntimeError: If this process imported torch before, which has then asked which devices there are.
    """
    # A module that is being imported has no names yet.
    if hasattr(sys.modules.get("torch"), "Tensor"):
        raise RuntimeError(
            "torch was imported before the device was made. Name this plugin first: -p tests.emulated_cuda.plugin"
        )
    ctypes.CDLL(str(torch_folder() / "lib" / "libtorch_cpu.so"), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(device_library(kind())), mode=ctypes.RTLD_GLOBAL)
    for function in (library.emulated_start, library.emulated_count):
        function.restype = ctypes.c_int64
    library.emulated_count.argtypes = [ctypes.c_int64]
    return library


def environment(of_type: str = CUDA) -> dict[str, str]:
    """Return the environment in which every Python process has a device, and its driver, from the import of torch on.

    Raises:
        Unavailable: As `device_library`.
    """
    device_library(of_type)
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "LD_LIBRARY_PATH")}
    here = Path(__file__).parent
    return {
        KIND_ENV: of_type,
        "PYTHONPATH": _joined(str(here / "everywhere"), str(here.parents[1]), before["PYTHONPATH"]),
        "LD_LIBRARY_PATH": _joined(str(driver_library().parent), before["LD_LIBRARY_PATH"]),
    }


def _joined(*folders: str | None) -> str:
    return os.pathsep.join(folder for folder in folders if folder)


def driver_library() -> Path:
    """Return the library of the driver; its folder, in LD_LIBRARY_PATH of a process, has it found there.

    Raises:
        Unavailable: If there is no C++ compiler.
    """
    return _compiled("driver.cpp", "", (), (), _DRIVER)


def _compiled(name: str, version: str, includes: Sequence[str], libraries: Sequence[str], made: str) -> Path:
    """Compile a source beside this file, unless that was done before."""
    source, command = Path(__file__).with_name(name), _compiler()
    compiler = _ran([*command, "--version"])
    identity = "\n".join([source.read_text(encoding="utf-8"), version, *_FLAGS, *includes, shlex.join(command), compiler])
    folder = cache_folder() / f"emulated-cuda-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    if not (folder / made).is_file():
        with tempfile.TemporaryDirectory() as temporary, whole_file(folder / made) as whole:
            output = f"{temporary}/made.so"
            _ran([*command, *_FLAGS, *includes, str(source), *libraries, "-o", output])
            shutil.copyfile(output, whole)
    return folder / made


def _compiler() -> list[str]:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    command = shlex.split(compiler) if compiler else []
    if not command or not shutil.which(command[0]):
        raise Unavailable("there is no C++ compiler (g++ or c++). Install GCC, or name another compiler by CXX")
    return command


def _ran(command: list[str]) -> str:
    ran = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if ran.returncode:
        raise Unavailable(f"{shlex.join(command)} failed with exit code {ran.returncode} ({ran.stderr.strip()[:2000]})")
    return ran.stdout
