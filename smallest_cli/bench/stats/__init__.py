"""Statistics of small samples: `quantiles` describes one sample, `comparison` compares two.

No bootstrap: at benchmark sample sizes the coverage of its intervals for tails is far below nominal.
"""
