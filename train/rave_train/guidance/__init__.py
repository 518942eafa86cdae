"""What the network is trained by: the guidance of the three methods, the identity loss, and their sum."""
