"""Steps of descent: as they are defined, and compiled."""
