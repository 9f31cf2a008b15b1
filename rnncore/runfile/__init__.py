"""What the measuring and the reading half share: what a run file holds, and what makes two of them comparable."""
