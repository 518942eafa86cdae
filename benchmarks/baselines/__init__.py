"""The methods that rave-backlit is compared with, one file each, written from their papers."""
