"""`python -m rave_runtime`: rave-run, also where its program is not on the path."""

from rave_runtime.cli import main

if __name__ == "__main__":
    main()
