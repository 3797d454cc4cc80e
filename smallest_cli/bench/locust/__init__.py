"""Load that one machine cannot make, on Locust: what is asked for, and the process that makes trials of it.

`smallest_cli/locustfile.py` is what Locust is given. Needs the extra `locust`.
"""
