"""Run a command on that GPU of this machine which has the fewest runs of a sweep: `python gpu.py COUNT COMMAND ...`.

Snakemake counts GPUs (`--resources gpu=4`), but does not say which of them a run may use, and PyTorch takes the first
that it sees. Here a lock on a file stands for a place on a GPU. It is given back when the run ends, however it ends.
"""

import fcntl
import itertools
import os
import sys
import tempfile


def take_place(gpus: list[str]) -> str:
    """The GPU with the first free place: one run on each of them before there are two on any."""
    for place in itertools.count():
        for gpu in gpus:
            name = f"biomark-{os.getuid()}-gpu-{gpu}-place-{place}.lock"
            file = os.open(os.path.join(tempfile.gettempdir(), name), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            os.set_inheritable(file, True)  # the command holds it
            return gpu


if __name__ == "__main__":
    # Of those that a scheduler or the user left visible, if any.
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    gpus = seen if seen[0] else [str(number) for number in range(int(sys.argv[1]))]
    os.environ["CUDA_VISIBLE_DEVICES"] = take_place(gpus[: int(sys.argv[1])])
    os.execvp(sys.argv[2], sys.argv[2:])
