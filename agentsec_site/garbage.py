"""Python's collector of cycles, told what a long-lived process keeps anyway.

A full collection walks every object, and Django's are hundreds of thousands: about 100 ms in which a request
waits, now and then. What stands once the process is ready stays as long as it lives, so the collector is
told not to look at it again (`gc.freeze`).
"""

from __future__ import annotations

import gc

# New objects until the youngest are looked at; the older generations follow as ever.
YOUNG = 10_000


def settle() -> None:
    """Call it once all is loaded: what stands now is kept out of every later collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 10)
