"""How the package is built: setuptools, one compiled library, and a compiler where none is."""
