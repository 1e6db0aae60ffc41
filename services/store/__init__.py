"""Files of a project: images, superpixels, model folders, arrays."""
