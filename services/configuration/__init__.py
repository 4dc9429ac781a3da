"""Settings of the station: what a person writes into `station.toml`, and what the Central System changes over OCPP.

Owns: the table of OCPP keys (`keys.py`, values in `formats.py`), `station.toml` (`station.py`, shapes in `model.py`, rules in
`checks.py`), and `configuration.db` (`store.py`), whose one writer is the link (design §2, "Configuration at a cold start").
Does not: publish anything, or act on a value. The exceptions of this package are one: `station.ConfigurationError`.
Import the module that you need: nothing is imported here, and `tomllib` and `sqlite3` only by those that use them.
"""
