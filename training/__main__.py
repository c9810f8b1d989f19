"""`python -m training`."""

import sys

from training.interruption import ending_by_signals

with ending_by_signals("python -m training"):
    try:
        from training.cli import main
    except ModuleNotFoundError as error:
        print(f"python -m training: need {error.name}, got no such module; pip install -e '.[train]'.", file=sys.stderr)
        sys.exit(2)

    main()
