"""The explanation methods of the literature, one file each: an example to copy for the next."""
