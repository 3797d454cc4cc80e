"""Statistics of small samples. Pure: numbers in, numbers out; nothing is dropped, nothing is invented.

`quantiles` describes one sample, `shift` compares two. No bootstrap: at the sizes of a benchmark its
intervals for the tails cover far less than they claim.
"""
