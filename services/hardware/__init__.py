"""Common ground of all device drivers: contract, ports, link supervision, the byte-moving thread."""
