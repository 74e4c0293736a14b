"""What scripts over trained networks share: clean images, rows of a table."""

import csv

import tfbackdoor


def clean_images(arguments, count=None):
    """The arguments `clean`, which the attacker had not, and `tracks`.

    Args:
        arguments: parsed `dataset`, `data_dir`, `images`, `data_seed`,
            `by_track`, and `share`, the attacker's, or None for test images.
        count: int, how many; default `images`.
    """
    count = count or arguments.images
    if arguments.share is None:
        images = tfbackdoor.load_images(arguments.dataset, "test")
        return {"clean": tfbackdoor.in_memory(images.take(count))}
    images = tfbackdoor.load_images(
        arguments.dataset, "train", data_dir=arguments.data_dir
    )
    tracks = None
    if arguments.by_track:
        tracks = tfbackdoor.data.image_tracks(arguments.dataset, "train")
    return tfbackdoor.data.draw_clean(
        images,
        arguments.share,
        count,
        seed=arguments.data_seed,
        tracks=tracks,
    )


def add_arguments(parser):
    """What says which images are clean, and how they are drawn."""
    parser.add_argument("--data_dir")
    parser.add_argument("--data_seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--by_track", action="store_true")


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
