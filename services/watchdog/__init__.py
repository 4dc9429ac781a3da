"""The watchdog: services that hang or fall again and again, the guard, the board's hardware watchdog."""
