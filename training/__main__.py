"""`python -m training`."""

import sys

try:
    from training.cli import main
except ModuleNotFoundError as error:
    print(f"python -m training: need {error.name}, got no such module; pip install -e '.[train]'.", file=sys.stderr)
    sys.exit(2)

main()
