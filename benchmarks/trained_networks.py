"""What scripts over trained networks share: clean images, rows of a table."""

import csv

import tfbackdoor


def clean_images(arguments):
    """Images of which the attacker had none, in memory.

    Args:
        arguments: parsed `dataset`, `data_dir`, `images`, `data_seed`, and
            `share`, the attacker's, or None for test images.
    """
    if arguments.share is None:
        images = tfbackdoor.load_images(arguments.dataset, "test")
        return tfbackdoor.in_memory(images.take(arguments.images))
    images = tfbackdoor.load_images(
        arguments.dataset, "train", data_dir=arguments.data_dir
    )
    shares = [arguments.share, arguments.images]
    _, clean = tfbackdoor.split_images(images, shares, seed=arguments.data_seed)
    return tfbackdoor.in_memory(clean)


def add_row(path, columns, row):
    """Appends a dict to a CSV file, which begins with the columns."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerow(row)


def read_rows(path):
    """The rows of a CSV file as dicts of strings."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
