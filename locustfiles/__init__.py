"""Everything that runs in Locust's processes: sessions, users, and the grid's master and load workers.

Importing `locust` patches the standard library for gevent. The launcher therefore never imports this
package; it starts its modules as processes.
"""
