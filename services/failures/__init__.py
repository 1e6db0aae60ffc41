"""What is wrong with a frame, and whether a model still gets it wrong."""
