"""Classification data of images, text and sequences: built in, by hub id, or from a folder in the hub's layout."""

from landscope.reproduction.experiment.datasets.images import ImageData
from landscope.reproduction.experiment.datasets.loading import load_data, load_images
from landscope.reproduction.experiment.datasets.text import TokenData
from landscope.reproduction.experiment.datasets.texts import byte_sequences, python_texts

__all__ = ["ImageData", "TokenData", "byte_sequences", "load_data", "load_images", "python_texts"]
