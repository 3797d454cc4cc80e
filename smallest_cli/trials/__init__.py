"""What trials left, and what follows from it. No network and no clock: the same trials give the same result.

`record` is one trial as it was stamped, `metrics` what one trial shows, `summary` what many show, `slo` what
was promised of them, `files` how they are kept, `versus` how two runs differ, `likeness` whether they may be
compared. `expected` holds what a file must look like, in the terms of `shape`: who reads it may trust it.
"""
