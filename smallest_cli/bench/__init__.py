"""Measure latency: plan and run trials, judge a run, summarise, compare, report. Trials are not retried."""
