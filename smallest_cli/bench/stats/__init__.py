"""Statistics of small samples: `quantiles` describes one sample, `comparison` compares two.

There is no bootstrap: at the sizes of a benchmark its intervals for the tails cover far less than they claim.
"""
