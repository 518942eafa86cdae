"""Studies, each of which measures one question and writes one result."""

STUDIES = {
    "folder-speed": ("benchmarks.studies.folder_speed", "A folder of 12 MP JPEGs against Pillow."),
    "backlit-score": ("benchmarks.studies.backlit_score", "Which photographs --only-backlit takes."),
    "full-resolution": ("benchmarks.studies.full_resolution", "Full resolution against PyTorch."),
    "upsampling": ("benchmarks.studies.upsampling", "Ways of bringing a reduced light back to full size."),
    "single-graph": ("benchmarks.studies.single_graph", "The graph of the normal way against Enhancer."),
    "panorama-scenes": ("benchmarks.studies.panorama_scenes", "Scenes against the light from panoramas."),
    "before-after": ("benchmarks.studies.before_after", "A sheet of scenes before and after."),
    "films": ("benchmarks.studies.films", "A film against decoding and encoding it alone."),
    "gpu": ("benchmarks.studies.gpu", "Parity and speed of everything on an NVIDIA GPU, in one run."),
    "cluster": ("benchmarks.studies.cluster", "What a Ray cluster costs and gains."),
    "int8-library": ("benchmarks.studies.int8_library", "INT8 by hand against onnxruntime's own tool."),
    "serve": ("benchmarks.studies.serve", "rave-serve under more load than it can take."),
}
"""Studies by the name of the command: the module, whose `main` takes the arguments, and the help."""
