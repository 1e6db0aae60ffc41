"""What every benchmark shares: where it ran, how a bar is judged, what is kept between runs."""
