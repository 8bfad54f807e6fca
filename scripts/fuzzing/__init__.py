"""Random trainings, and how they are taken, compared and made smaller; see ../fuzz_bits.py."""
