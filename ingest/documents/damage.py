"""What reading a damaged file can raise."""

import struct
import zlib
from zipfile import BadZipFile

# Readers of damaged files meet what their authors never thought of.
BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BadZipFile,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    struct.error,
    TypeError,
    ValueError,
    zlib.error,
)
