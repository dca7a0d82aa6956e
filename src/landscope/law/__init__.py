"""The variance-flatness law (Eq. 8): exponents, their intervals, and their values under each null."""
