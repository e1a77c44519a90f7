"""The independent checker of certificates: numpy and onnx only, and nothing of lipaudit's other rooms.

It reads the model with its own reader, has its own table of ops, and takes every number of the certificate as a guess:
whatever the guesses are, what it accepts is proven (see `proof.py`). What it does not know it rejects.
"""

from lipaudit.checker.forms import Rejected
from lipaudit.checker.verify import SCHEMA, Verified, prove, verify

__all__ = ["SCHEMA", "Rejected", "Verified", "prove", "verify"]
