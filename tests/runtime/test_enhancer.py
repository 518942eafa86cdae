from __future__ import annotations

import concurrent.futures
from pathlib import Path

import numpy as np
import pytest
from conftest_runtime import backlit_picture
from hypothesis import given, settings
from hypothesis import strategies as st

from rave_runtime import BundleError, DeviceError, Enhancer, PhotoError, UsageError
from rave_runtime.enhancer import tiled_light
