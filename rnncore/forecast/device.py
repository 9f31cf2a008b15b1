"""Where models run: the one place that knows devices, chooses the threads, and how they wait for one another.

torch is imported where it is used: what is chosen here by the environment must be there before torch is loaded.
"""

import math
import os
import platform
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from rnncore.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    import torch

# torch's names of types of devices; it calls AMD's by NVIDIA's.
CPU, CUDA = "cpu", "cuda"

# What says that a device is chosen here.
AUTO = "auto"

# A type, and a number where it has one.
_NAME = re.compile(r"(.*?)(?::(\d+))?", re.DOTALL)

T = TypeVar("T")


@dataclass(frozen=True)
class DeviceType:
    """What torch's interface for all devices does not say of those of one type.

    Attributes:
        precisions: What torch computes in there, the usual one first.
        install: What makes torch have one.
        whole_layers: Whether its library runs whole recurrent layers of both cells. Where it does not, the operations of
            each hour are launched one by one, and `auto` leaves the device alone.
        profiled_as: What torch's profiler calls its kernels; None where it sees none.
        graphs: The class of torch that captures calls on it; None where there is none.
        counters: Which library tells of its clocks and energy; None where none is known.
    """

    precisions: tuple[str, ...]
    install: str = ""
    whole_layers: bool = False
    profiled_as: str | None = None
    graphs: str | None = None
    counters: Literal["NVML", "AMD SMI"] | None = None


TYPES = {
    CPU: DeviceType(("fp32", "bf16")),
    CUDA: DeviceType(
        ("fp32", "tf32", "bf16", "fp16"),
        "Install a CUDA build of torch and the NVIDIA driver",
        whole_layers=True,
        profiled_as="CUDA",
        graphs="CUDAGraph",
        counters="NVML",
    ),
    "mps": DeviceType(("fp32", "bf16", "fp16"), "It needs an Apple GPU, and torch's build for macOS"),
    "xpu": DeviceType(
        ("fp32", "bf16", "fp16"),
        "Install an XPU build of torch and the Intel driver",
        profiled_as="XPU",
        graphs="XPUGraph",
    ),
}

# Of a device that another package gives to torch: what every device has.
OTHER_TYPE = DeviceType(("fp32",), "Install what gives it to torch")

# Calls of what is captured as a graph before it is; as torch's own examples have it.
CALLS_BEFORE_CAPTURE = 3

# Where Linux keeps control groups, and in which ones this process is.
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")

# What OpenMP, and with it torch, OpenBLAS and MKL, may start.
_THREADS_ENV = "OMP_NUM_THREADS"
# How many processes torch.compile may start.
_COMPILING_ENV = "TORCHINDUCTOR_COMPILE_THREADS"
_WAITING_ENV = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")

# How often a thread that waits for others looks again before it sleeps. Where it sleeps at once, every barrier costs a
# wake-up. Where it looks on for milliseconds, as libgomp's do when nothing is set, it holds the very core that the thread
# it waits for could run on: beside one busy process, two threads on two cores took a hundred times longer.
_LOOKS = "100"

# What libgomp does by itself; set, so that processes that are started from here know that it was chosen.
_LOOKS_BY_ITSELF = "300000"


@dataclass(frozen=True)
class Device:
    """One device that torch computes on: whatever differs between devices is asked here.

    Attributes:
        type: torch's name of its type.
        index: Its number among those of its type, from 0.
    """

    type: str
    index: int = 0

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the device of a name, whether or not there is one, or torch knows of such: `cpu`, `cuda`, `cuda:1`."""
        found = _NAME.fullmatch(name)
        return cls(found[1], int(found[2] or 0)) if found else cls(name)

    @classmethod
    def known(cls, name: str) -> Self:
        """Return the device of a name that torch can have a device of, whether or not there is one.

        Raises:
            ConfigError: If torch knows no such type.
        """
        device = cls.named(name)
        if not device.is_known:
            raise ConfigError(f"device is {name!r}; {_allowed()}.")
        return device

    @classmethod
    def of(cls, device: "torch.device") -> Self:
        """Return torch's device; without a number it is the first."""
        return cls(device.type, device.index or 0)

    @property
    def name(self) -> str:
        """Its name as an axis of cases has it: the first of a type without a number."""
        return f"{self.type}:{self.index}" if self.index else self.type

    @property
    def title(self) -> str:
        """What people call its type."""
        return "ROCm" if self.is_rocm else self.type.upper()

    @property
    def in_torch(self) -> "torch.device":
        """The device as torch has it, with the number that tensors on it name."""
        import torch

        return torch.device(self.type) if self.is_cpu else torch.device(self.type, self.index)

    @property
    def kind(self) -> DeviceType:
        """What is known of its type."""
        return TYPES.get(self.type, OTHER_TYPE)

    @property
    def is_cpu(self) -> bool:
        """Whether it is the CPU."""
        return self.type == CPU

    @property
    def is_rocm(self) -> bool:
        """Whether it is AMD's under NVIDIA's name."""
        import torch

        return self.type == CUDA and torch.version.hip is not None

    @property
    def is_known(self) -> bool:
        """Whether torch can have one: of a type of ours, or of the device that torch has here; there is one CPU."""
        return not self.index if self.is_cpu else self.type in TYPES or self.type == accelerator_type()

    @property
    def precisions(self) -> tuple[str, ...]:
        """What torch computes in there, the usual one first. Of AMD's there is no TF32."""
        return tuple(one for one in self.kind.precisions if one != "tf32" or not self.is_rocm)

    def require(self, precision: str) -> None:
        """Refuse a precision that torch does not compute in there, or that the CPU has no instructions for.

        Raises:
            Unavailable: If so.
        """
        if precision not in self.precisions:
            raise Unavailable(f"no {precision} on {self.title}. Take one of: {', '.join(self.precisions)}.")
        if self.is_cpu and precision == "bf16":
            import torch

            # Without them oneDNN gives way to loops that convert back and forth.
            if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
                raise Unavailable("this CPU has no instructions for bf16 (AVX-512 BF16 or AMX).")

    def why_missing(self) -> str | None:
        """Return why torch has it not, with what its driver says and what to do; None where torch has it."""
        import torch

        if self.is_cpu:
            return None
        # Of an old driver torch only warns, which must neither be lost nor end a session in which warnings are errors.
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            if bool(self._asked("is_available")):
                count = self.count() if self.index else 1
                if self.index < count:
                    return None
                known = ", ".join(Device(self.type, index).name for index in range(count))
                return f"no {self.title} device {self.index}: torch sees {count}. Name one of: {known}."
        # Without where in torch's code it was said.
        words = [str(warning.message).split("(Triggered internally")[0].strip().rstrip(".") for warning in said]
        return " ".join(
            [
                f"no {self.title} device: torch {torch.__version__} is {_built_for()} and sees no GPU.",
                *(f"{text}." for text in words),
                f"{self.kind.install}, or use the CPU.",
            ]
        )

    def synchronize(self) -> None:
        """Wait until all work queued on it is done."""
        if not self.is_cpu:
            import torch

            torch.accelerator.synchronize(self.in_torch)

    def empty_cache(self) -> None:
        """Give back memory that torch holds there for later."""
        self._asked("empty_cache")

    def page_locked(self, values: "torch.Tensor") -> "torch.Tensor":
        """Return values of the host in page-locked memory, from and to which the device copies by itself.

        Raises:
            Unavailable: If torch has no such memory for it.
        """
        try:
            return values.pin_memory()
        except RuntimeError as error:
            why = f"no page-locked memory for {self.title}: {error}. Time copies by the clock 'host'."
            raise Unavailable(why) from error

    def backend(self) -> str:
        """Return what processes that train on it speak to one another by, in torch's words.

        Small tensors go over the CPUs' network, so that reading them does not wait for a GPU; gradients over the GPUs'.

        Raises:
            Unavailable: If torch knows nothing that connects such devices, or was built without gloo, which connects CPUs.
        """
        import torch

        if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
            raise Unavailable(
                "this torch was built without gloo, by which processes on CPUs find one another. Train in one."
            )
        known = torch.distributed.get_default_backend_for_device
        if self.is_cpu:
            return known(CPU)
        try:
            return f"{CPU}:{known(CPU)},{self.type}:{known(self.in_torch)}"
        except ValueError as error:
            raise Unavailable(f"torch knows nothing that connects {self.title} devices. Train in one process.") from error

    def forget_peak(self) -> None:
        """Begin anew to look for the most memory that tensors hold."""
        self._asked("reset_peak_memory_stats", self.in_torch)

    def peak_bytes(self) -> int | None:
        """Return the most memory that tensors held since `forget_peak`; None where torch does not count it."""
        found = self._asked("max_memory_allocated", self.in_torch)
        return None if found is None else int(found)

    def rng_state(self) -> "torch.Tensor | None":
        """Return the state of its random numbers, on the CPU; None of the CPU and where torch does not tell."""
        found: torch.Tensor | None = None if self.is_cpu else self._asked("get_rng_state", self.in_torch)
        return found

    def set_rng_state(self, state: "torch.Tensor") -> None:
        """Put back what `rng_state` returned."""
        self._asked("set_rng_state", state, self.in_torch)

    def profiler_activities(self) -> list[Any]:
        """Return what torch's profiler has to watch: the host, and the kernels of the device where it sees them."""
        from torch.profiler import ProfilerActivity

        names = ["CPU", *([self.kind.profiled_as] if self.kind.profiled_as else [])]
        return [getattr(ProfilerActivity, name) for name in names]

    def captured(self, call: Callable[[], T], calls_before: int = CALLS_BEFORE_CAPTURE) -> tuple[Any, T]:
        """Capture a call as a graph, after some calls as they are: what libraries make ready at first must be there before.

        Args:
            call: Reads and writes tensors of the device, always the same ones, and waits for nothing.
            calls_before: How many; 0 where `on_side_stream` made them.

        Returns:
            The graph, whose `replay` calls again, and what the captured call returned: its tensors hold what the last
            replay gives.

        Raises:
            Unavailable: If torch has no graphs of such devices.
        """
        self.require_graphs()
        for _ in range(calls_before):
            self.on_side_stream(call)
        module = self._module
        with self._current():
            graph = getattr(module, str(self.kind.graphs))()
            with module.graph(graph):
                returned = call()
        return graph, returned

    def require_graphs(self) -> None:
        """Refuse a device that torch captures nothing on.

        Raises:
            Unavailable: If it does not.
        """
        if self.kind.graphs is None:
            raise Unavailable(f"no CUDA graph on {self.type}. Train with the implementation 'auto', run without the mode.")

    def on_side_stream(self, call: Callable[[], T]) -> T:
        """Make a call as it will be captured: on a stream of its own, between what is queued before it and after it."""
        module = self._module
        with self._current():
            side = module.Stream()
            side.wait_stream(module.current_stream())
            with module.stream(side):
                returned = call()
            module.current_stream().wait_stream(side)
        return returned

    def properties(self) -> Any:
        """Return what torch tells of the card, in torch's own form; None where it tells nothing."""
        return self._asked("get_device_properties", self.index)

    def identity(self) -> dict[str, Any]:
        """Return what torch says of it, as far as it does: name, memory in bytes, capability, and the number of the card."""
        import torch

        properties = self.properties()
        backend = getattr(torch.backends, self.type, None)
        uuid, major = getattr(properties, "uuid", None), getattr(properties, "major", None)
        found = {
            "name": getattr(properties, "name", None) or getattr(backend, "get_name", lambda: self.title)(),
            "memory_bytes": getattr(properties, "total_memory", None) or self._asked("recommended_max_memory"),
            "compute_capability": None if major is None else f"{major}.{properties.minor}",
            "uuid": None if uuid is None else str(uuid),
        }
        return {name: value for name, value in found.items() if value is not None}

    def count(self) -> int:
        """Return how many of its type torch has here."""
        return int(self._asked("device_count") or 0)

    def software(self) -> dict[str, Any]:
        """Return the versions of what torch drives it by, in the words of a fingerprint."""
        import torch

        layers = torch.backends.cudnn.version() if self.type == CUDA else None  # type: ignore[no-untyped-call]
        if self.is_rocm:
            return {"rocm": torch.version.hip, "miopen": layers}
        of_type: dict[str, dict[str, Any]] = {
            CUDA: {"cuda": torch.version.cuda, "cudnn": layers},
            "mps": {"macos": platform.mac_ver()[0]},
            "xpu": {"oneapi": getattr(torch.version, "xpu", None)},
        }
        return of_type.get(self.type, {})

    @property
    def _module(self) -> Any:
        """The functions that torch has for its type."""
        import torch

        return torch.get_device_module(self.type)

    def _asked(self, name: str, *arguments: Any) -> Any:
        """Return what a function of torch's module for its type returns; None where it has no such function."""
        import torch

        function = getattr(getattr(torch, self.type, None), name, None)
        return None if function is None else function(*arguments)

    def _current(self) -> AbstractContextManager[None]:
        """Let it be the device that streams are made on."""
        import torch

        return torch.accelerator.device_index(self.index)


def accelerator_type() -> str:
    """Return the type of device beside the CPU that torch has here; where it has none, the one that is missed: CUDA."""
    import torch

    found = torch.accelerator.current_accelerator()
    return CUDA if found is None else found.type


def resolve_device(name: str) -> "torch.device":
    """Turn a name into a device of this machine.

    Args:
        name: That of a device, or `auto`, which takes torch's device beside the CPU where its library runs whole recurrent
            layers and it works, else the CPU.

    Raises:
        Unavailable: If there is none.
        ConfigError: If torch has no such devices.
    """
    if name == AUTO:
        beside = Device(accelerator_type())
        return (beside if beside.kind.whole_layers and not beside.why_missing() else Device(CPU)).in_torch
    device = Device.known(name)
    if why := device.why_missing():
        raise Unavailable(why)
    return device.in_torch


def _allowed() -> str:
    return f"allowed: {', '.join(TYPES)}, with a number where there are several ({CUDA}:1), and what else torch has here"


def _built_for() -> str:
    """Say what this torch was built for."""
    import torch

    versions = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip, "XPU": getattr(torch.version, "xpu", None)}
    return next((f"built for {name} {version}" for name, version in versions.items() if version), "a CPU build")


@contextmanager
def cudnn_precision(precision: str) -> Iterator[None]:
    """Let products of fp32 be rounded to TF32 on CUDA inside the block, or not: those of cuDNN's layers and of matrices.

    On a CPU they are never rounded. Each of torch's switches is set by itself: one that is left open takes the value of a
    wider one, which may permit TF32. A switch that was open has after the block the value that it took.

    Args:
        precision: `tf32` rounds the factors of products to 10 bits, any other name does not.
    """
    switches = _fp32_switches()
    before = [switch.fp32_precision for switch in switches.values()]
    for name, switch in switches.items():
        switch.fp32_precision = "tf32" if precision == "tf32" and "mkldnn" not in name else "ieee"
    try:
        yield
    finally:
        for switch, value in zip(switches.values(), before, strict=True):
            switch.fp32_precision = value


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Let torch run recurrent layers hour by hour itself inside the block, also on a GPU that cuDNN has layers for."""
    import torch

    backends: Any = torch.backends
    before = backends.cudnn.enabled
    backends.cudnn.enabled = False
    try:
        yield
    finally:
        backends.cudnn.enabled = before


def _fp32_switches() -> dict[str, Any]:
    """Return what torch rounds products of fp32 by, by name."""
    import torch

    backends: Any = torch.backends
    return {
        "cudnn.rnn": backends.cudnn.rnn,
        "cudnn.conv": backends.cudnn.conv,
        "cuda.matmul": backends.cuda.matmul,
        "mkldnn.rnn": backends.mkldnn.rnn,
        "mkldnn.matmul": backends.mkldnn.matmul,
    }


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use *count* CPU threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def synchronize(device: "torch.device") -> None:
    """Wait until all work queued on *device* is done."""
    Device.of(device).synchronize()


def default_threads() -> int:
    """Return how many CPUs this process may use: the smallest of its affinity, its quota and `OMP_NUM_THREADS`."""
    # A list is for threads within threads; its first number is for the outer ones.
    given = re.match(r"\s*(\d+)\s*(,|$)", os.environ.get(_THREADS_ENV, ""))
    threads = usable_threads()
    return min(threads, int(given[1])) if given and int(given[1]) else threads


def usable_threads() -> int:
    """Return how many threads find a CPU: the smaller of the process's affinity and its quota, at least 1."""
    cpus, (quota, _) = len(usable_cpus()), cpu_quota()
    return cpus if quota is None else max(1, min(cpus, int(quota)))


def usable_cpus() -> frozenset[int]:
    """Return the numbers of the CPUs that this process may run on."""
    return frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def cpu_quota() -> tuple[float | None, str | None]:
    """Return of how many CPUs the process may use the time, by its control groups and all around them.

    Returns:
        The smallest quota in CPUs, or None; and why there is none.
    """
    quotas = [quota for folder in _cgroup_folders() if (quota := _quota_of(folder)) is not None]
    smallest = min(quotas, default=math.inf)
    if smallest < math.inf:
        return smallest, None
    return None, "no limit" if quotas else f"no control group in {CGROUPS} tells a limit"


def _cgroup_folders() -> Iterator[Path]:
    """Yield the folders of the groups that this process is in and of all around them, in both versions.

    A container may see its own group as the root, under a path that leads nowhere there.
    """
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in [*lines, "0::/", "1:cpu:/"]:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = [CGROUPS / controllers, CGROUPS / "cpu"] if controllers else [CGROUPS, CGROUPS / "unified"]
        group = PurePosixPath(path)
        for inside in (group, *group.parents):
            yield from (mount / inside.relative_to("/") for mount in mounts if ".." not in inside.parts)


def _quota_of(folder: Path) -> float | None:
    """Return the quota of one group in CPUs, in either version: infinite where it has none, None where it gives none."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period"))
        return math.inf if quota.strip() in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def limited_threads() -> dict[str, str]:
    """Return the environment in which no library starts more threads or compilers than this process may use."""
    return dict.fromkeys((_THREADS_ENV, _COMPILING_ENV), str(default_threads()))


def passive_waiting() -> dict[str, str]:
    """Return the environment in which threads that wait soon leave the CPU to others; what is set already stays."""
    policy, looks = _WAITING_ENV
    return {policy: os.environ.get(policy, "passive"), looks: os.environ.get(looks, _LOOKS)}


def spinning_waiting() -> dict[str, str]:
    """Return the environment in which threads wait as libgomp lets them by itself: they spin for milliseconds."""
    return {_WAITING_ENV[1]: _LOOKS_BY_ITSELF}


def waiting_is_chosen() -> bool:
    """Return whether the environment sets how threads wait."""
    return any(name in os.environ for name in _WAITING_ENV)


def waits_passively() -> bool:
    """Return whether the environment has libgomp's threads leave the CPU to others while they wait."""
    return os.environ.get(_WAITING_ENV[0], "").strip().lower() == "passive"
