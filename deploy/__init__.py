"""Deployment data of the station: supervisord configuration and station profiles."""
