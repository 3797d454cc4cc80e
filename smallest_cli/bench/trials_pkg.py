"""What trials left, and what follows from it. No network and no clock: the same trials give the same result.

`record` is one trial as it was stamped, `metrics` what one trial shows, `summary` what many show, `slo` what
was promised of them. `files` is how they are kept, `merging` how runs are one, `versus` how two differ, and
`likeness` whether they may be compared. `expected` holds what a file must look like, in the terms of `shape`:
behind the reader everything may trust it.
"""
