"""What pulls the network: the three methods, the identity loss and their sum."""
