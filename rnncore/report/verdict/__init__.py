"""Verdicts as text, JSON, Markdown, JUnit XML and annotations."""
