"""`python -m rave_train`, and `torchrun --nproc-per-node=N -m rave_train` on several GPUs."""

from rave_train.cli import main

main()
