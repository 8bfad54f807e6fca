"""The network: its mathematics, written once above the seam of arithmetic."""
