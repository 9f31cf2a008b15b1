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
    ordinary,
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
    ordinary.BESIDE,
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
    ordinary.NUMBERS,
    not_measured.SECTION,
    ordinary.UNKNOWN,
    method.SECTION,
)

# How long each benchmark of another project's suites takes. What there is nothing to say of is not there.
OF_ONE_ORDINARY = (
    ordinary.VERDICT,
    ordinary.SECTION,
    ordinary.MACHINE,
    ordinary.DISTURBED,
    ordinary.NOT_MEASURED,
    ordinary.UNKNOWN,
    ordinary.METHOD,
)

# The same in several runs.
OF_SEVERAL_ORDINARY = (
    ordinary.VERDICT_OF_SEVERAL,
    ordinary.TIMES,
    ordinary.NUMBERS,
    ordinary.MACHINES,
    ordinary.NOT_MEASURED,
    ordinary.UNKNOWN,
    ordinary.METHOD,
)
