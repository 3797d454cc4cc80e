"""Measure latency: plan and run trials, check validity, summarise, compare, report. No retries."""
