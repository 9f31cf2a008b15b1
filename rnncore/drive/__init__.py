"""Who runs the suites: again, in turn, elsewhere. Never imports torch."""
