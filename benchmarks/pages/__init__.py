"""What every page costs with ten thousand failures stored, with one, and with none."""
