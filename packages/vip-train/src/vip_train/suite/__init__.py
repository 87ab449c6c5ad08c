"""A suite of small tasks over six domains, and two more that nobody trains on. Text and grammar are ours (CC0).

`domains/*.yaml` has the words and sentence frames, `domains.py` reads them, `scenes.py` makes sentences, `families.py` makes
rows of tasks. The same version gives the same rows everywhere; `checksums.yaml` says which.
"""

VERSION = "2"
"""Of words, frames and generator together. What changes a row changes it."""
