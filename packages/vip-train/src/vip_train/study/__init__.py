"""Studies: methods x tasks x seeds, trained cell by cell and summed up in one table. `file` says how one is written."""
