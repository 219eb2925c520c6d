"""Launcher for a checkout: `python cli.py extract …` is `comix extract …`."""

from comix_fast.cli import main

if __name__ == "__main__":
    main()
