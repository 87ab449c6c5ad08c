"""Trains a VIP adapter: `python packages/vip-train/run.py` or `deepspeed packages/vip-train/run.py`, with the same flags."""

import sys

from vip_train.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
