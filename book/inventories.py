"""Write the small intersphinx inventories in book/_inv: one line for each foreign name our signatures use.

Run it after adding a name below. With an inventory at hand the build asks no network for it.
"""

import zlib
from pathlib import Path

# As signatures show them: in full where Sphinx resolves an annotation, as written where it keeps the source.
NAMES = {
    "python": {
        "bool": "library/functions.html#bool",
        "collections.abc.Callable": "library/collections.abc.html#collections.abc.Callable",
        "collections.abc.Iterator": "library/collections.abc.html#collections.abc.Iterator",
        "collections.abc.Mapping": "library/collections.abc.html#collections.abc.Mapping",
        "collections.abc.Sequence": "library/collections.abc.html#collections.abc.Sequence",
        "dict": "library/stdtypes.html#dict",
        "float": "library/functions.html#float",
        "int": "library/functions.html#int",
        "list": "library/stdtypes.html#list",
        "object": "library/functions.html#object",
        "os.PathLike": "library/os.html#os.PathLike",
        "pathlib.Path": "library/pathlib.html#pathlib.Path",
        "Path": "library/pathlib.html#pathlib.Path",
        "Sequence": "library/collections.abc.html#collections.abc.Sequence",
        "slice": "library/functions.html#slice",
        "str": "library/stdtypes.html#str",
        "tuple": "library/stdtypes.html#tuple",
        "ValueError": "library/exceptions.html#ValueError",
        "FileNotFoundError": "library/exceptions.html#FileNotFoundError",
    },
    "numpy": {
        "ArrayLike": "reference/typing.html#numpy.typing.ArrayLike",
        "NDArray": "reference/typing.html#numpy.typing.NDArray",
        "np.bool_": "reference/arrays.scalars.html#numpy.bool_",
        "np.float32": "reference/arrays.scalars.html#numpy.float32",
        "np.float64": "reference/arrays.scalars.html#numpy.float64",
        "np.int64": "reference/arrays.scalars.html#numpy.int64",
        "np.random.Generator": "reference/random/generator.html#numpy.random.Generator",
        "numpy.ndarray": "reference/generated/numpy.ndarray.html",
    },
    "matplotlib": {
        "matplotlib.axes._axes.Axes": "api/_as_gen/matplotlib.axes.Axes.html",
        "matplotlib.figure.Figure": "api/_as_gen/matplotlib.figure.Figure.html",
        "Axes": "api/_as_gen/matplotlib.axes.Axes.html",
        "Figure": "api/_as_gen/matplotlib.figure.Figure.html",
    },
    "pandas": {
        "pandas.DataFrame": "reference/api/pandas.DataFrame.html",
        "pd.DataFrame": "reference/api/pandas.DataFrame.html",
    },
    "torch": {
        "Tensor": "tensors.html#torch.Tensor",
        "nn.Module": "generated/torch.nn.Module.html#torch.nn.Module",
        "torch.Tensor": "tensors.html#torch.Tensor",
        "torch.nn.modules.module.Module": "generated/torch.nn.Module.html#torch.nn.Module",
    },
}


def write(folder: Path, project: str, names: dict[str, str]) -> None:
    """Write one inventory in Sphinx's format, version 2."""
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    lines = "".join(
        f"{name} py:class 1 {address} -\n"
        for name, address in sorted(names.items())
    )
    (folder / f"{project}.inv").write_bytes(
        head.encode() + zlib.compress(lines.encode())
    )


if __name__ == "__main__":
    for project, names in NAMES.items():
        write(Path(__file__).parent / "_inv", project, names)
