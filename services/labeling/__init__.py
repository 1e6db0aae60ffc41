"""The label queue: what people are asked, and what they answer."""
