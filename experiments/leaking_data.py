"""Write the data of the leaking run of the insight test:  python -m experiments.leaking_data FOLDER

A folder data set of drawn scenes whose labeled list holds copies of test pictures: saved anew as JPEG, under names of
their own, so that neither the names nor the bytes tell.
"""

import sys
from pathlib import Path

from PIL import Image

from scl_core.config import load_config
from scl_core.data.sources import DataSource, open_data

SOUND = Path(__file__).resolve().parent / "faults" / "sound.yaml"
LEAKED = 3


def main(folder: str) -> None:
    """Raises FileExistsError for a folder that is there already."""
    root = Path(folder)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    source = open_data(load_config([SOUND]).data)
    colors = [f"{name} {r} {g} {b}\n" for name, (r, g, b) in zip(source.class_names, source.palette, strict=True)]
    (root / "classes.txt").write_text("".join(colors))
    number, lists = (
        0,
        {name: list(range(len(source.pictures(name)))) for name in ("labeled", "unlabeled", "val", "test")},
    )
    for name, places in lists.items():
        taken = [(name, place) for place in places]
        if name == "labeled":
            taken[-LEAKED:] = [("test", place) for place in range(LEAKED)]
        lines = []
        for other, place in taken:
            number += 1
            lines.append(
                write_pair(source, other, place, root, number, copied=other != name, masked=name != "unlabeled")
            )
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")


def write_pair(source: DataSource, name: str, place: int, root: Path, number: int, copied: bool, masked: bool) -> str:
    """Save a picture, a copied one as JPEG, and its mask where it shows one; returns the line of the list."""
    pictures, stem = source.pictures(name), f"street_{number:03d}"
    suffix, how = ("jpg", {"quality": 92}) if copied else ("png", {})
    Image.fromarray(pictures.image(place)).save(root / "images" / f"{stem}.{suffix}", **how)
    if not masked:
        return f"images/{stem}.{suffix}"
    mask = Image.fromarray(pictures.mask(place), mode="P")
    mask.putpalette(source.palette.flatten().tolist())
    mask.save(root / "masks" / f"{stem}.png")
    return f"images/{stem}.{suffix}\tmasks/{stem}.png"


if __name__ == "__main__":
    main(*sys.argv[1:])
