"""`python -m ppcls_light`, the same as `ppcls-light`."""

from .commands import main

if __name__ == "__main__":
    main()
