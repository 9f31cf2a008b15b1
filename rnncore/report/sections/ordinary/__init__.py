"""Benchmarks of other projects' suites: how long each takes, what they recorded, and what their files do not say."""
