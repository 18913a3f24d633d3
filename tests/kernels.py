"""What `make test` loads beside nbval: a kernel that never answers is started once more, before any cell has run.

Of two kernels that start at the same moment, one may find its ports taken by the other (`book/execute.py` meets the
same). nbval would report it as a failure of every cell of the chapter.
"""

from nbval import kernel

start = kernel.start_new_kernel


def start_new_kernel(*args, **kwargs):
    """As nbval's, which raises RuntimeError where no answer came."""
    try:
        return start(*args, **kwargs)
    except RuntimeError:
        return start(*args, **kwargs)


kernel.start_new_kernel = start_new_kernel
