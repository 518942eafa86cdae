"""INT8 graphs: their calibration pictures, the ranges they round in, and the layers that stay float32."""
