"""One training on many processes, with the bits of one: what meets, and how."""
