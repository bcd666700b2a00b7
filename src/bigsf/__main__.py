"""`python -m bigsf` is the command `bigsf`, for torchrun and the like."""

from bigsf.cli import main

if __name__ == "__main__":
    main()
