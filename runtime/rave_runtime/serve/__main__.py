"""`python -m rave_runtime.serve`: rave-serve, also where its program is not on the path."""

from rave_runtime.serve.cli import main

if __name__ == "__main__":
    main()
