"""Pictures to train on: finding, pairing, augmenting and synthesising them."""
