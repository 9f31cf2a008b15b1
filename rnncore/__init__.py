"""Benchmark GRU and LSTM load forecasters on any hardware and runtime.

The package has two halves, joined by the run file, the JSON that pytest-benchmark saves:
`forecast`, `runtimes` and `measure` make it and need torch; `compare` and `report` read it and never import torch.
"""

__version__ = "0.1.0"
