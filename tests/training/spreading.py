"""`python -m training` from another folder than the checkout's, with a preset of the caller's.

python spreading.py PRESET ARGUMENTS: PRESET is the JSON of the three fields of the preset `small`.  SIGINT interrupts
it, also where the caller ignores that, as what a shell starts in the background does.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from training import cli, table
from training.interruption import ending_by_signals
from training.presets import Preset

if __name__ == "__main__":
    table.PRESETS = {"small": Preset(**json.loads(sys.argv.pop(1)))}
    with ending_by_signals("training"):
        cli.main()
