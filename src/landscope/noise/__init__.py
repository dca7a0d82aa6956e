"""Statistics of the minibatch noise that explain the variance-flatness law (paper, Eqs. 9 to 13 and 15)."""
