"""Purifies a model of your own.

    python examples/own_model.py suspicious.keras clean.npz purified

The clean images are an `.npz` file with `train_images` and `train_labels`, or a
folder `train/<class>/<image>`; a few hundred, some of each class. Writes
`classifier.keras`, `report.html` and `report.json`.
"""

import argparse
import pathlib

import tfbackdoor


def purify(model, images, output):
    classifier = tfbackdoor.load_classifier(model)
    clean = tfbackdoor.load_images(images, "train")
    purified, report = tfbackdoor.purify(classifier, clean)
    report.save(output)
    purified.save(pathlib.Path(output, "classifier.keras"))
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .keras or .h5 file")
    parser.add_argument("images", help="clean images, .npz file or folder")
    parser.add_argument("output", help="folder to write to")
    report = purify(**vars(parser.parse_args()))
    print("\n".join([report.verdict, *report.warnings]))


if __name__ == "__main__":
    main()
