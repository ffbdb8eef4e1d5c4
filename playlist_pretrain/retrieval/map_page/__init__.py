"""Map page: an embedding space to see and hear, as one self-contained HTML file."""
