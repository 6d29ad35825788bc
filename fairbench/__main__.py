"""`python -m fairbench` is the command line, also under torchrun."""

from fairbench.cli import main

if __name__ == "__main__":
    main()
