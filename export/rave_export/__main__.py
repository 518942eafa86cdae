"""`python -m rave_export`: rave-export, also where its program is not on the path."""

from rave_export.cli import main

if __name__ == "__main__":
    main()
