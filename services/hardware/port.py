"""Opening a serial port, the same for a UART, an adapter and a pseudo-terminal (hardware.md §2.2).

Owns: what differs between them. Does not: read or write. Every way of failing becomes PortMissing with a plain line.
"""

import os
import termios

import serial

from services.hardware.contract import PortMissing


def open_port(path: str, baud: int, *, parity: str = "N", stop_bits: int = 1, timeout_s: float = 0.5) -> serial.Serial:
    """An open port, exclusively ours, input empty. Reads and writes take `timeout_s` at most. Raises PortMissing."""
    if os.path.realpath(path).startswith("/dev/pts/"):
        # A pseudo-terminal refuses parity, and has no use for it.
        parity = "N"
    try:
        port = serial.Serial(
            path, baud, parity=parity, stopbits=stop_bits, timeout=timeout_s, write_timeout=timeout_s, exclusive=True
        )
        port.reset_input_buffer()
    except (serial.SerialException, termios.error, OSError, ValueError) as error:
        raise PortMissing(f"{path} can't be opened ({_cause(error)}); check cable, adapter and the port's name") from None
    return port


def _cause(error: Exception) -> str:
    """The cause without pyserial's wrapping."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return " ".join(str(error).split())
