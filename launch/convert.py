"""Turns PyTorch weights, as arrays in a file, into a `.keras` file.

    python -m launch.convert --weights=student.npz --network=wide_resnet

The file is an `.npz` or `.safetensors`; a `.pt` or `.pth` is a pickle, and the
message says how to convert it. The arrays keep their state-dict names and
PyTorch's layouts.
"""

from absl import flags

from . import running
from .flags import network
from .flags import numbers

flags.DEFINE_string("weights", None, "The .npz or .safetensors file.")
flags.DEFINE_list("image_shape", "32,32,3", "HEIGHT,WIDTH,CHANNELS.")
flags.DEFINE_integer("classes", 10, "Number of classes.", 2)

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(network)


def job(folder):
    import tfbackdoor

    shape = numbers.whole(
        "image_shape", "HEIGHT,WIDTH,CHANNELS", FLAGS.image_shape
    )
    classifier = network.build(shape, FLAGS.classes)
    tfbackdoor.load_pytorch_weights(classifier, FLAGS.weights)
    classifier.save(folder / "classifier.keras")


def main():
    running.run(job, "convert", required=["weights"])


if __name__ == "__main__":
    main()
