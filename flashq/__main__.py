"""`python -m flashq` is the command `flashq`."""

from flashq.cli.main import main

if __name__ == "__main__":
    main()
