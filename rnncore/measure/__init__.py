"""How it is measured: the case, the machine, the memory, and the pytest plugin that brings them into the run file."""
