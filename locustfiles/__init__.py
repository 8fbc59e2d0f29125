"""What Locust loads: the session, the users that run it, and the grid's master and load workers.

Importing `locust` patches the standard library for gevent, so nothing in here is imported by the
launcher; it starts these modules as processes.
"""
