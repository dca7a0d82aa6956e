"""What an experiment trains: settings, networks, data sets, training."""
