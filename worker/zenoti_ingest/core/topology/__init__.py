"""What the broker must have, how it is named, and what to do about differences."""
