"""`python -m comix_fast` does what `comix` does."""

from comix_fast.cli import main

if __name__ == "__main__":
    main()
