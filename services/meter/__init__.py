"""The meter service: trustworthy readings of the connectors' energy meters."""
