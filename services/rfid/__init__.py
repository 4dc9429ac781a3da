"""The rfid service: when a card counts as presented."""
