"""Virtual hardware: charging controller, energy meter and card reader behind pseudo-terminals, and a car to charge.

It speaks the true wire protocols, so the production drivers run unchanged. It is hardware: it shares no code with the
drivers and takes no part in the bus.
"""
