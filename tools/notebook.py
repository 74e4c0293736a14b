"""Runs the code of a notebook in plain Python and keeps what it shows.

    python tools/notebook.py examples/purify_digits.ipynb

runs all cells in a temporary folder and writes their text and pictures into the
file. No Jupyter is needed: what a cell's last line gives is shown as a picture
if it is one of Pillow's, else as text.
"""

import argparse
import ast
import base64
import contextlib
import io
import json
import pathlib
import tempfile


def run(cells: list[dict], shorten=lambda code: code) -> dict:
    """Runs code cells and stores their outputs in them.

    Args:
        cells: of a notebook; the code cells are changed in place.
        shorten: function from the code of a cell to what is run.

    Returns:
        The names that the cells defined.
    """
    names = {"__name__": "__main__"}
    code_cells = [cell for cell in cells if cell["cell_type"] == "code"]
    for number, cell in enumerate(code_cells, start=1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            value = _last_value(shorten("".join(cell["source"])), names)
        cell["execution_count"] = number
        cell["outputs"] = _outputs(printed.getvalue(), value, number)
    return names


def _last_value(code, names):
    """Runs a cell; the value of its last line, if that is an expression."""
    tree = ast.parse(code)
    last = None
    if isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
    exec(compile(tree, "<cell>", "exec"), names)
    return last and eval(compile(last, "<cell>", "eval"), names)


def _outputs(printed, value, number):
    outputs = []
    if printed:
        outputs.append(
            {
                "output_type": "stream",
                "name": "stdout",
                "text": printed.splitlines(keepends=True),
            }
        )
    if value is not None:
        outputs.append(
            {
                "output_type": "execute_result",
                "execution_count": number,
                "metadata": {},
                "data": _shown(value),
            }
        )
    return outputs


def _shown(value):
    if not hasattr(value, "_repr_png_"):
        return {"text/plain": [repr(value)]}
    picture = base64.b64encode(value._repr_png_()).decode()
    return {"image/png": picture, "text/plain": ["<a picture>"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=pathlib.Path)
    path = parser.parse_args().notebook.absolute()
    notebook = json.loads(path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        run(notebook["cells"])
    text = json.dumps(notebook, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
