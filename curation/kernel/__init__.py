"""What everything stands on, and all that retraining may import: types, boxes, images, files."""
