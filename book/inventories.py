"""Write the small intersphinx inventories in book/_inv: one line for each foreign name our signatures use.

Run it after adding a name below. With an inventory at hand the build asks no network for it.
"""

import zlib
from pathlib import Path

NAMES = {
    "python": {
        "bool": "library/functions.html#bool",
        "bytes": "library/stdtypes.html#bytes",
        "collections.abc.Callable": "library/collections.abc.html#collections.abc.Callable",
        "collections.abc.Iterable": "library/collections.abc.html#collections.abc.Iterable",
        "collections.abc.Iterator": "library/collections.abc.html#collections.abc.Iterator",
        "collections.abc.Mapping": "library/collections.abc.html#collections.abc.Mapping",
        "collections.abc.Sequence": "library/collections.abc.html#collections.abc.Sequence",
        "dict": "library/stdtypes.html#dict",
        "float": "library/functions.html#float",
        "int": "library/functions.html#int",
        "list": "library/stdtypes.html#list",
        "object": "library/functions.html#object",
        "pathlib.Path": "library/pathlib.html#pathlib.Path",
        "str": "library/stdtypes.html#str",
        "tuple": "library/stdtypes.html#tuple",
    },
    "numpy": {
        "numpy.ndarray": "reference/generated/numpy.ndarray.html",
        "numpy.random.Generator": "reference/random/generator.html#numpy.random.Generator",
    },
    "pandas": {"pandas.DataFrame": "reference/api/pandas.DataFrame.html"},
    "torch": {
        "torch.Tensor": "tensors.html#torch.Tensor",
        "torch.device": "tensor_attributes.html#torch.device",
        "torch.nn.Module": "generated/torch.nn.Module.html#torch.nn.Module",
    },
}


def write(folder: Path, project: str, names: dict[str, str]) -> None:
    """Write one inventory in Sphinx's format, version 2."""
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    lines = "".join(f"{name} py:class 1 {address} -\n" for name, address in sorted(names.items()))
    (folder / f"{project}.inv").write_bytes(head.encode() + zlib.compress(lines.encode()))


if __name__ == "__main__":
    for project, names in NAMES.items():
        write(Path(__file__).parent / "_inv", project, names)
