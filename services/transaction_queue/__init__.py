"""The transaction queue: keeps transaction messages until the Central System has them (design §4).

`core.py` decides, `times.py` gives moments their UTC, `breaches.py` knows what may not be, `store.py` and `schema.py` are the
database, `service.py` joins them to the bus, `__main__.py` runs it as a process.
"""
