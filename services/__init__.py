"""The services of the station, one package a process; see README.md."""
