"""Every damage of every file of a study: what names it, and whether the stated command heals it."""

import random
import shutil

from landscope.files.checked_json import read_checked
from landscope.storage import read_archive
from landscope.study.identity import digest_of_recording

KINDS = ("halved", "flipped", "emptied", "deleted", "replaced")
NOBODY_READS = {".lock"}
NOTES = {"continued.json", "continued-ends.json", "continued-steps.json", "not-measured.json"}
"""Notes that say the same whenever they are made."""


def files_of(folder):
    return [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name not in NOBODY_READS]


def damaged(file, kind, other=None, place=0.5):
    """Damage a file; whether it has changed. ``other`` is the same file of another study."""
    content = file.read_bytes()
    if kind == "deleted":
        file.unlink()
        return True
    if kind == "replaced":
        if other is None or not other.exists() or other.read_bytes() == content:
            return False
        shutil.copyfile(other, file)
        return True
    flipped = bytearray(content)
    at = min(int(place * len(content)), len(content) - 1)
    flipped[at] ^= 16
    left = {"halved": content[: len(content) // 2], "emptied": b"", "flipped": bytes(flipped)}[kind]
    file.write_bytes(left)
    return left != content


def digests(folder):
    """Digests of every result and whole model, of every recording, and what the notes of an analysis say."""
    found = {str(file.relative_to(folder)): read_archive(file).digest for file in folder.rglob("*.zarr.zip")}
    found |= {str(path.relative_to(folder)): digest_of_recording(path) for path in folder.rglob("trajectory")}
    notes = [file for file in folder.rglob("*.json") if file.name in NOTES]
    return found | {str(file.relative_to(folder)): read_checked(file) for file in notes}


def restored(folder, whole):
    """Make a folder equal to a whole one again."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    return folder


def flips(folder, count, seed):
    """Random single-bit flips over all files of a study, about as many in each: (file, byte, bit)."""
    draw, files = random.Random(seed), files_of(folder)
    for file in draw.choices(files, k=count):
        yield file, draw.randrange(file.stat().st_size), draw.randrange(8)


ALONE = {"experiment.yaml", "study.yaml", "training.json", "training.zarr.zip"}
"""Files of which one is restored from another."""


def batches(folder, seed, size=12):
    """All damages of all files, some of them together: lists of (name, kind) with each name once."""
    draw, names = random.Random(seed), [str(file.relative_to(folder)) for file in files_of(folder)]
    every = [(name, kind) for kind in KINDS for name in names]
    rest = [one for one in every if one[0] not in ALONE]
    draw.shuffle(rest)
    found = [[one] for one in every if one[0] in ALONE]
    while rest:
        batch = dict(reversed(rest))
        taken = list(batch.items())[:size]
        found.append(taken)
        rest = [one for one in rest if one not in taken]
    return found
