"""Multi-layer perceptrons as scikit-learn's users meet them, on top of :class:`backendmlp.MLP`."""
