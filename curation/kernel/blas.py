"""Small matrices on one thread."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """In this block, matrix products and factorisations of numpy and scipy take one thread.

    Handing out a matrix of a hundred rows costs more than computing with it. And threads that
    wait for the next one spin on the cores that PyTorch's threads want: on two cores
    explanations by a Gaussian process over 128 masks took four to six times as long with two
    threads of each.
    """
    limit: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return limit


@functools.cache
def _libraries() -> ThreadpoolController:
    """Looks through all that is loaded, which takes milliseconds: once."""
    import numpy  # noqa: F401  both carry a library of their own, to be found
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()
