"""The release, named once for people (health, BootNotification, support bundle)."""

VERSION = "0.1.0"
