"""The sections of a page, one file each, in the order in which they are read."""

from rnncore.report.sections import (
    accuracy,
    forecasts,
    latency,
    machine,
    method,
    not_measured,
    profile,
    results,
    roofline,
    several,
    throughput,
    training,
    trust,
    verdict,
)

# What is fastest here. Every section is always there; an empty one says why it is.
OF_ONE_RUN = (
    verdict.SECTION,
    machine.SECTION,
    throughput.SECTION,
    latency.SECTION,
    accuracy.SECTION,
    training.SECTION,
    profile.SECTION,
    roofline.SECTION,
    forecasts.SECTION,
    results.SECTION,
    trust.SECTION,
    not_measured.SECTION,
    method.SECTION,
)

# Which machine, or what changed.
OF_SEVERAL = (
    several.VERDICT,
    machine.SECTION_OF_SEVERAL,
    several.NOT_ALIKE,
    several.COST,
    several.CHANGED,
    several.TIMES,
    several.WHY,
    several.ACCURACIES,
    not_measured.SECTION,
    method.SECTION,
)
