"""An idle station (design §8)."""
