"""Load generation on Locust, for more streams than one process can run. Needs the extra `locust`.

Locust loads `locustfile.py` (`locust -f`).
"""
