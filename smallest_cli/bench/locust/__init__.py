"""Load generation on Locust, for more streams than one process can run. Needs the extra `locust`.

`locustfile.py` is the file that Locust is given.
"""
