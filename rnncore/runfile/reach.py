"""What each benchmark reads: what the process that runs them says to the one that watches the files they open.

The watcher (`rnncore.drive.reach`) names a folder. The process that runs the benchmarks (`rnncore.measure.reach`) writes
there what it collected, and before each benchmark a file with its number: the watcher sees these files among all the others
that are opened, in order, and so knows whose they are.
"""

# The plugin of pytest that runs benchmarks so, and what names the folder.
PLUGIN = "rnncore.measure.reach"
ENVIRONMENT = "RNNCORE_REACH"

# Content of the file `.git` at the top of the copy; by it a process that runs in a folder of the copy finds the top.
NO_GIT = "none of git's\n"

# Files of the folder. Of the watcher: the benchmarks to run, a list of names. Of the process: all that it collected, by name
# the suite that it is in.
ASKED, COLLECTED = "asked", "collected"


def outside(number: int | None) -> str:
    """Return the name of the file that tells of modules from outside of the tree: after collection, or a benchmark.

    Args:
        number: Of the benchmark, by its place among those asked for; None after collection.
    """
    return "outside" if number is None else f"{number}.outside"


def begins(number: int) -> str:
    """Return the name of the file that is made before a benchmark, by its place among those asked for."""
    return str(number)


def ends(number: int) -> str:
    """Return the name of the file that is made after a benchmark that was skipped or right.

    It holds the group that the benchmark is listed with, null of one that was skipped.
    """
    return f"{number}.ended"
