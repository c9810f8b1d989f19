"""Trains as one of two processes that torchrun started: python sharing.py FOLDER RANK PORT.

FOLDER/NAME.json holds the fields of a run, which goes to FOLDER/NAME, one run after the other; what is there already is
resumed from its checkpoint.  FOLDER/die, if there is one, ends both processes in the fourth checkpoint of a run.
"""

import json
import os
import sys
from pathlib import Path

from training import trainer
from training.config import RunConfig
from training.trainer import train_or_resume


def main(folder: Path, rank: str, port: int) -> None:
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
                   "MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"}  # fmt: skip
    for number, path in enumerate(sorted(folder.glob("*.json"))):
        os.environ["MASTER_PORT"] = str(port + number)
        config = RunConfig.from_dict(json.loads(path.read_text()))
        if (folder / "die").exists():
            die_in_the_fourth_checkpoint()
        train_or_resume(config, folder / path.stem)


def die_in_the_fourth_checkpoint() -> None:
    """Every process asks for the state of a checkpoint, and the fourth time gets none."""
    states = iter(range(3))
    state = trainer.Epochs.state

    def dying(epochs: trainer.Epochs):
        if next(states, None) is None:
            os._exit(9)
        return state(epochs)

    trainer.Epochs.state = dying


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
