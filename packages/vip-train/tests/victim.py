"""run.py with an accident in the last process as its third step begins; the first argument says which.

`die`: it is killed by SIGKILL. `preempt`: its launcher gets SIGTERM, as from Slurm.
"""

import os
import signal
import sys

from vip_train.cli import main
from vip_train.data import Batch
from vip_train.loader import Loader

STEP = 3
ACCIDENTS = {"die": lambda: os.kill(os.getpid(), signal.SIGKILL), "preempt": lambda: os.kill(os.getppid(), signal.SIGTERM)}
real = Loader.batch
# The `deepspeed` command puts a flag of its own before the script's.
place = next(at for at, argument in enumerate(sys.argv) if argument in ACCIDENTS)
accident = ACCIDENTS[sys.argv.pop(place)]


def batch(self: Loader, step: int) -> Batch:
    if step == STEP and os.environ["RANK"] == str(int(os.environ["WORLD_SIZE"]) - 1):
        accident()
    return real(self, step)


Loader.batch = batch  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
