"""`python -m grinder_kit` is the `grinder` command."""

from grinder_kit.cli import main

if __name__ == "__main__":
    main()
