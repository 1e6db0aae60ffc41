"""What tests and benchmarks hold explanations against; the service uses none of it."""
