"""Who runs the suites: again, interleaved, elsewhere. Never imports torch."""
