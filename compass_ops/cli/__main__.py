"""`python -m compass_ops.cli`: the same as `compass`."""

from compass_ops.cli.main import main

if __name__ == "__main__":
    main(prog_name="compass")
