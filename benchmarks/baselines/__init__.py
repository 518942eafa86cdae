"""The methods that rave-backlit is compared with, each in one file and written from its paper."""
