"""Classification data of images, text and sequences: built in, by hub id, or from a folder in the hub's layout."""
