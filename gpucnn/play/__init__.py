"""A page in which a trained network is watched at work: the network itself runs in the browser."""
