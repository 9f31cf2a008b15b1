"""The meeting place of the two halves: what a run file holds, and what makes two of them comparable."""
