"""The sections of a page, one file each, in the order in which they are read: the answer, then questions, then details."""

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
    precision,
    profile,
    ratios,
    results,
    roofline,
    scaling,
    scenarios,
    several,
    throughput,
    training,
    trust,
    verdict,
)
from rnncore.report.sections.ordinary import one_run, origin, several_runs, tails

# What is fastest here. A section that a run has nothing for is not there; 'What was not measured?' has its reason.
OF_ONE_RUN = (
    verdict.SECTION,
    latency.SECTION,
    scenarios.SECTION,
    throughput.SECTION,
    interleaved.SECTION,
    precision.SECTION,
    cost.SECTION,
    scenarios.STREAMING,
    accuracy.SECTION,
    forecasts.SECTION,
    training.SECTION,
    interleaved.TRAINING,
    learning.SECTION,
    training.DATA,
    scaling.SECTION,
    roofline.SECTION,
    profile.SECTION,
    one_run.BESIDE,
    tails.BESIDE,
    trust.SECTION,
    not_measured.SECTION,
    results.SECTION,
    machine.SECTION,
    method.SECTION,
)

# Which machine, or what changed.
OF_SEVERAL = (
    several.VERDICT,
    several.NOT_ALIKE,
    ratios.SECTION,
    several.CHANGED,
    machine.SECTION_OF_SEVERAL,
    cost.SECTION,
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
    tails.SECTION,
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
    tails.SECTION,
    several_runs.NUMBERS,
    origin.MACHINES,
    origin.NOT_MEASURED,
    origin.UNKNOWN,
    origin.METHOD,
)
