"""Reads exported files in a process that never imports this package.

    python -I read_back.py BATCH.npz RESULT.json FORMAT=FILE ...

runs `images` of the batch through each file and writes, from format to what
was found, the largest difference from `scores`, or the error.
"""

import json
import sys

import numpy as np


def _keras(file, images):
    import keras

    model = keras.models.load_model(file, compile=False)
    inputs = images
    if getattr(model, "inputs", None) and not isinstance(
        model, keras.Sequential
    ):
        # Within the list or dict that the model may take.
        inputs = keras.tree.map_structure(lambda _: images, model.input)
    (scores,) = keras.tree.flatten(model(inputs, training=False))
    return keras.ops.convert_to_numpy(scores)


def _saved_model(file, images):
    import tensorflow as tf

    serve = tf.saved_model.load(file).signatures["serving_default"]
    (scores,) = serve(images=tf.constant(images)).values()
    return scores.numpy()


def _litert(file, images):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite.python.interpreter import Interpreter

    serve = Interpreter(file).get_signature_runner()
    (scores,) = serve(images=images).values()
    return scores


def _onnx(file, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        file, providers=["CPUExecutionProvider"]
    )
    (scores,) = session.run(None, {"images": images})
    return scores


_READERS = {
    "keras": _keras,
    "saved_model": _saved_model,
    "litert": _litert,
    "onnx": _onnx,
}


def _read(name, file, images, expected):
    try:
        scores = np.asarray(_READERS[name](file, images), "float32")
    except Exception as error:  # Whatever is wrong with this file.
        return {"error": str(error) or type(error).__name__}
    if scores.shape != expected.shape:
        return {"error": f"it gives scores of shape {scores.shape}"}
    return {"difference": float(np.max(np.abs(scores - expected)))}


def main(batch, result, *files):
    with np.load(batch, allow_pickle=False) as arrays:
        images, expected = arrays["images"], arrays["scores"]
    found = {}
    for name, _, file in (argument.partition("=") for argument in files):
        found[name] = _read(name, file, images, expected)
    if "tfbackdoor" in sys.modules:
        raise SystemExit("the files need tfbackdoor")
    with open(result, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
