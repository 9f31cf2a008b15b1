"""Python runs this at its start where PYTHONPATH has this folder: torch and ONNX Runtime have the emulated device then."""

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_NAMES = ("torch", "onnxruntime")


class _Loader(Loader):
    """Load a module as its own loader does, with the device before or after."""

    def __init__(self, name: str, loader: Loader) -> None:
        self._name, self._loader = name, loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if self._name == "torch":
            importlib.import_module("tests.emulated_cuda.build").load_device()
        self._loader.exec_module(module)
        device = importlib.import_module("tests.emulated_cuda.device")
        if self._name == "onnxruntime":
            device.start_onnxruntime()


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name not in _NAMES or path is not None:
            return None
        spec = PathFinder.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(name, spec.loader)
        return spec


sys.meta_path.insert(0, _Finder())
