"""Measuring: arms, warm-ups, trials, and how far the measuring itself can be trusted. It never tries again.

`plan` is what will be asked and in which order, `attempt` one trial, `lanes` how many at once and when,
`trust` the verdict on the run.
"""
