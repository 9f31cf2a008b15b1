"""The sections of a page, one file each, in the order in which they are read."""

from rnncore.report.sections import (
    accuracy,
    cost,
    forecasts,
    interleaved,
    latency,
    learning,
    machine,
    method,
    not_measured,
    profile,
    ratios,
    results,
    roofline,
    scenarios,
    several,
    throughput,
    training,
    trust,
    verdict,
)
from rnncore.report.sections.ordinary import one_run, origin, several_runs

# What is fastest here. A section of level 2 is always there; an empty one gives the reason.
OF_ONE_RUN = (
    verdict.SECTION,
    machine.SECTION,
    throughput.SECTION,
    interleaved.SECTION,
    cost.SECTION,
    latency.SECTION,
    scenarios.SECTION,
    scenarios.STREAMING,
    accuracy.SECTION,
    training.SECTION,
    interleaved.TRAINING,
    learning.SECTION,
    training.DATA,
    profile.SECTION,
    roofline.SECTION,
    forecasts.SECTION,
    results.SECTION,
    one_run.BESIDE,
    trust.SECTION,
    not_measured.SECTION,
    method.SECTION,
)

# Which machine, or what changed.
OF_SEVERAL = (
    several.VERDICT,
    machine.SECTION_OF_SEVERAL,
    several.NOT_ALIKE,
    cost.SECTION_OF_SEVERAL,
    several.CHANGED,
    ratios.SECTION,
    ratios.WHY,
    accuracy.SECTION_OF_SEVERAL,
    several_runs.NUMBERS,
    not_measured.SECTION,
    origin.UNKNOWN,
    method.SECTION,
)

# How long each benchmark of another project's suites takes. What there is nothing to say of is not there.
OF_ONE_ORDINARY = (
    one_run.VERDICT,
    one_run.SECTION,
    origin.MACHINE,
    origin.DISTURBED,
    origin.NOT_MEASURED,
    origin.UNKNOWN,
    origin.METHOD,
)

# The same in several runs.
OF_SEVERAL_ORDINARY = (
    several_runs.VERDICT,
    several_runs.TIMES,
    several_runs.NUMBERS,
    origin.MACHINES,
    origin.NOT_MEASURED,
    origin.UNKNOWN,
    origin.METHOD,
)
