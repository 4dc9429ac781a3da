"""Metrics for a monitoring system on this board, in Prometheus' text format; only where station.toml has [metrics]."""
