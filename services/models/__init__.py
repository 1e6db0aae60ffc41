"""Models: classes, dataset versions, training, registry, those from elsewhere."""
