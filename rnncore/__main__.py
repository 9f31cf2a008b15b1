"""`python -m rnncore`: the command, where a folder of scripts is not on the path."""

from rnncore.cli import main

if __name__ == "__main__":
    main()
