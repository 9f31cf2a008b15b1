"""Every error that rnncore raises on purpose, in one tree.

    RnncoreError
    ├── DataError        a series cannot be read, split or scaled; names file and line where there is one
    ├── ConfigError      an option or a combination of options is not allowed
    ├── OutputError      a file cannot be written
    ├── ModelFileError   a model or checkpoint file cannot be read or does not fit
    ├── ExportError      an exported graph is not the model it was made from
    ├── RunFileError     a run file cannot be read
    ├── StoreError       a store of run files cannot be reached or written
    ├── ProcessError     a benchmark process ended without a result
    └── Unavailable      a device or package is missing; says what to install

Each message says what is wrong, what is allowed and what to do next. The command line prints it and exits with 2.
"""


class RnncoreError(Exception):
    """Base of all errors that rnncore raises on purpose."""


class DataError(RnncoreError, ValueError):
    """A series cannot be read, split or scaled."""


class ConfigError(RnncoreError, ValueError):
    """An option or a combination of options is not allowed."""


class OutputError(RnncoreError, OSError):
    """A file cannot be written."""


class ModelFileError(RnncoreError, ValueError):
    """A model or checkpoint file cannot be read or does not fit."""


class ExportError(RnncoreError, RuntimeError):
    """An exported graph is not the model it was made from."""


class RunFileError(RnncoreError, ValueError):
    """A run file cannot be read."""


class StoreError(RnncoreError, OSError):
    """A store of run files cannot be reached or written."""


class ProcessError(RnncoreError, RuntimeError):
    """A benchmark process ended without a result."""


class Unavailable(RnncoreError, RuntimeError):  # noqa: N818 (a state, not a fault)
    """A device, package or kernel is missing on this machine."""
