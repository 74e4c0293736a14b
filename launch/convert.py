"""Turns PyTorch weights, as arrays in an `.npz` file, into a `.keras` file.

    python -m launch.convert --weights=student.npz --network=wide_resnet

The arrays keep their state-dict names and PyTorch's layouts.
"""

from absl import flags

from launch import networks
from launch import runner

flags.DEFINE_string("weights", None, "The .npz file.", required=True)
flags.DEFINE_list("image_shape", "32,32,3", "HEIGHT,WIDTH,CHANNELS.")
flags.DEFINE_integer("classes", 10, "Number of classes.", 2)


FLAGS = flags.FLAGS


def job(folder):
    import tfbackdoor

    shape = tuple(int(size) for size in FLAGS.image_shape)
    classifier = networks.build(shape, FLAGS.classes)
    arrays = tfbackdoor.files.read_arrays(FLAGS.weights)
    tfbackdoor.load_pytorch_weights(classifier, arrays)
    classifier.save(folder / "classifier.keras")


def main():
    runner.run(job, "convert")


if __name__ == "__main__":
    main()
