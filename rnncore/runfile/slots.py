"""Rounds in slots: two revisions alive at once, of which one is timed for a fraction of a second and then the other.

What both sides of the pipe must agree on lies here: the process that drives two others (`rnncore.drive.pairs`) writes a line
of JSON and waits for one, those that measure (`rnncore.measure.slots`) answer. First each hears what to import, says which
benchmarks it collected, and hears in which order to run them; so far both run at once. From then on one of the two runs at a
time, until its next answer. The last is what it imported meanwhile, which its successors do at once. Where that is wanted,
each also says which benchmark begins, and waits for no answer to that: one that then says no more ended, or hangs, there.

Whoever runs in those that measure may write into what it finds open. So the one that drives names a token, and each line of
theirs begins with it from then on; what does not is none of theirs.
"""

# Names the two pipes: the descriptor to read from, a comma, the descriptor to write to.
ENVIRONMENT = "RNNCORE_SLOTS"

# Holds the number of the process that started this one, and with which it is to end.
PARENT = "RNNCORE_PARENT"

# Holds what a process is to have again that was started so that both sides of a pair lie alike in memory: the personality of
# Linux, and the limit of its stack in bytes; a comma behind each, and what is there to take room alone.
LAYOUT = "RNNCORE_LAYOUT"

# Keys of the lines. Of those that measure: the benchmarks they collected, the one that is ready, the one whose slot ended,
# and once all have ended the modules that they imported, and the files of all outside of the tree, by top-level name.
COLLECTED, READY, ENDED, IMPORTED, OUTSIDE = "collected", "ready", "ended", "imported", "outside"
# The benchmark that begins, and why a session was broken off. The one that drives asks for both, by the first of these keys.
BEGINS, BROKE_OFF = "begins", "broke_off"
# Of the one that drives: the token, modules to import, the benchmarks in order, the number of the pair, whether to measure
# memory, the seconds of a slot. A line without seconds lets a benchmark end.
TOKEN, IMPORTS, ORDER, PAIR, MEMORY, SLOT_S = "token", "imports", "order", "pair", "memory", "slot_s"
# Of both: with a benchmark that is ready and keeps one thread busy, the CPU that it was on; with a slot, the one to be on.
CPU = "cpu"
