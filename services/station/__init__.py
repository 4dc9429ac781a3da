"""The `station` command: starts the station under supervisord, shows it, restarts parts of it."""
